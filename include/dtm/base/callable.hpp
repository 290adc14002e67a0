/// Checks at compile time that functions of the program can be called and kept; the compiler says in one sentence what is
/// wrong with one.
/// Needs: std. Threads: nothing shared.
#pragma once

#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

namespace dtm {
inline namespace v1 {
namespace callable {

/// `function(arguments...)` compiles for a `const Function&`.
template <typename Function, typename... Arguments>
inline constexpr bool kFits =
    !std::is_member_pointer_v<Function> && std::is_invocable_v<const Function&, Arguments...>;

/// It compiles if the function is not const.
template <typename Function, typename... Arguments>
inline constexpr bool kFitsMutable =
    !std::is_member_pointer_v<Function> && std::is_invocable_v<Function&, Arguments...>;

/// Reports what can be wrong with any function. Returns false if the arguments are wrong: then the caller
/// says what such a function takes.
template <typename Function, bool fits, bool fits_mutable>
constexpr bool Check() {
  constexpr bool member = std::is_member_pointer_v<Function>;
  static_assert(!member,
                "dtm: a member function lacks its object; pass a lambda that calls it: "
                "[&object](const auto& payload) { object.Method(payload); }");
  static_assert(member || fits || !fits_mutable,
                "dtm: this function is called as a const object, perhaps by several threads at "
                "once; leave out `mutable` or make its operator() const, and capture by reference "
                "what it changes");
  return member || fits || fits_mutable;
}
template <typename Function, typename... Arguments>
constexpr bool Check() {
  return Check<Function, kFits<Function, Arguments...>, kFitsMutable<Function, Arguments...>>();
}

/// The same for one that may change what it holds.
template <typename Function, typename... Arguments>
constexpr bool CheckMutable() {
  constexpr bool fits = kFitsMutable<Function, Arguments...>;
  return Check<Function, fits, fits>();
}

template <typename Function>
struct IsStdFunction : std::false_type {};
template <typename Signature>
struct IsStdFunction<std::function<Signature>> : std::true_type {};

/// A null pointer or an empty std::function.
template <typename Function>
bool Empty(const Function& function) {
  if constexpr (std::is_pointer_v<Function> || IsStdFunction<Function>::value) {
    return function == nullptr;
  } else {
    return false;
  }
}

/// A std::function of any function. If that is move-only (because of its captures), copies share it.
template <typename Signature, typename Function>
std::function<Signature> Keep(Function function) {
  if constexpr (std::is_copy_constructible_v<Function>) {
    return function;
  } else {
    return [shared = std::make_shared<Function>(std::move(function))](auto&&... arguments) {
      return (*shared)(std::forward<decltype(arguments)>(arguments)...);
    };
  }
}

/// Refers to a function while a call lasts, without a copy of it. A parameter that is no template needs only its declaration.
template <typename Signature>
class Ref;
template <typename Returned, typename... Arguments>
class Ref<Returned(Arguments...)> {
 public:
  template <typename Function, typename = std::enable_if_t<!std::is_same_v<Function, Ref>>>
  Ref(const Function& function)  // NOLINT(google-explicit-constructor): so that a lambda is one
      : function_(&function), call_([](const void* target, Arguments... arguments) -> Returned {
          return (*static_cast<const Function*>(target))(std::forward<Arguments>(arguments)...);
        }) {}
  Returned operator()(Arguments... arguments) const {
    return call_(function_, std::forward<Arguments>(arguments)...);
  }

 private:
  const void* function_;
  Returned (*call_)(const void*, Arguments...);
};

}  // namespace callable
}  // namespace v1
}  // namespace dtm
