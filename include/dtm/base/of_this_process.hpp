/// Owns something that belongs to one process and not to its forked children: threads, sockets, locks.
/// Needs: POSIX through base/os.hpp. Threads: as the owned object.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include <dtm/base/error.hpp>
#include <dtm/base/os.hpp>

namespace dtm {
inline namespace v1 {

/// In a forked child Get() throws, and the destructor leaves the object alone: its threads are not there to be joined, and
/// its connections are the parent's.
template <typename T>
class OfThisProcess {
 public:
  /// `what`: its name in the error of a forked child.
  template <typename... Arguments>
  explicit OfThisProcess(const char* what, Arguments&&... arguments)
      : what_(what), owned_(std::make_unique<T>(std::forward<Arguments>(arguments)...)) {}
  OfThisProcess(const char* what, std::unique_ptr<T> owned)
      : what_(what), owned_(std::move(owned)) {}
  ~OfThisProcess() {
    if (!Here()) (void)owned_.release();
  }
  OfThisProcess(const OfThisProcess&) = delete;
  OfThisProcess& operator=(const OfThisProcess&) = delete;

  bool Here() const { return generation_ == os::Forking::Generation(); }

  /// For destructors: null in a forked child.
  T* IfHere() const noexcept { return Here() ? owned_.get() : nullptr; }

  /// @throws LogicError  this is a forked child.
  T& Get() const {
    if (Here()) return *owned_;
    throw LogicError(std::string("this ") + what_ +
                     " belongs to the parent process; a forked child has to make one of its own");
  }

 private:
  const char* const what_;
  const unsigned generation_ = os::Forking::Generation();
  std::unique_ptr<T> owned_;
};

}  // namespace v1
}  // namespace dtm
