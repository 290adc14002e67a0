// What the thread sanitizer cannot see: libstdc++.so counts the references to an exception, and it is not instrumented.
// Without this file the last owner's delete looks unordered to what another thread read from the exception before it
// dropped its own reference. Linked to every program of a build with -fsanitize=thread.
//
// Needs: libstdc++ with exception_ptr::_M_release (its ABI since GCC 4.4). Thread rule: any thread.
#include <dlfcn.h>
#include <exception>
#include <sanitizer/tsan_interface.h>

namespace {

// The count is an atomic one: whoever drops a reference sees what those did who dropped theirs before.
void Dropped(void* exception) {
  if (exception == nullptr) return;
  __tsan_release(exception);
  __tsan_acquire(exception);
}

// One thread at a time, from what is told to the sanitizer to the real count: between the two another thread could drop the
// last reference but one. A lock that the sanitizer does not see, since it must order nothing else.
int holder_exists = 0;
thread_local int depth = 0;  // an exception may hold another one

class Alone {
 public:
  __attribute__((no_sanitize("thread"))) Alone() {
    if (depth++ > 0) return;
    while (__atomic_exchange_n(&holder_exists, 1, __ATOMIC_ACQUIRE) != 0) {
    }
  }
  __attribute__((no_sanitize("thread"))) ~Alone() {
    if (--depth == 0) __atomic_store_n(&holder_exists, 0, __ATOMIC_RELEASE);
  }
};

template <typename Function>
Function* Real(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

constexpr char kRelease[] = "_ZNSt15__exception_ptr13exception_ptr10_M_releaseEv";

}  // namespace

extern "C" {

void __cxa_end_catch() {
  static auto* const real = Real<void()>("__cxa_end_catch");
  const Alone alone;
  {
    const std::exception_ptr caught = std::current_exception();
    Dropped(*reinterpret_cast<void* const*>(&caught));
  }
  real();
}

// std::exception_ptr::_M_release(): the only member of an exception_ptr is the address of the exception.
void DtmReleaseException(void** pointer) noexcept
    __asm__("_ZNSt15__exception_ptr13exception_ptr10_M_releaseEv");
void DtmReleaseException(void** pointer) noexcept {
  static auto* const real = Real<void(void**)>(kRelease);
  const Alone alone;
  Dropped(*pointer);
  real(pointer);
}

}  // extern "C"
