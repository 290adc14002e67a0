/// One small tree of errors: a handler for one kind catches no other.
#include <stdexcept>
#include <type_traits>

#include "tests/catch.hpp"
#include <dtm/base/error.hpp>

namespace {

template <typename E>
void CheckLeaf() {
  STATIC_REQUIRE(std::is_base_of_v<dtm::Error, E>);
  STATIC_REQUIRE(std::is_base_of_v<std::runtime_error, E>);
  int equal = std::is_base_of_v<dtm::FailureError, E> + std::is_base_of_v<dtm::RejectedError, E> +
              std::is_base_of_v<dtm::InDoubtError, E> + std::is_base_of_v<dtm::StoreError, E> +
              std::is_base_of_v<dtm::LogicError, E> + std::is_base_of_v<dtm::DuplicatedError, E>;
  CHECK(equal == 1);
  CHECK(E("what happened").what() == std::string("what happened"));
}

}  // namespace

TEST_CASE("error: six kinds under one base, none of which is another") {
  CheckLeaf<dtm::FailureError>();
  CheckLeaf<dtm::RejectedError>();
  CheckLeaf<dtm::InDoubtError>();
  CheckLeaf<dtm::StoreError>();
  CheckLeaf<dtm::LogicError>();
  CheckLeaf<dtm::DuplicatedError>();
}

TEST_CASE("error: kinds of refusal, which a handler of refusals catches all") {
  CheckLeaf<dtm::BadInput>();
  CheckLeaf<dtm::EndedError>();
  CheckLeaf<dtm::BusyError>();
  STATIC_REQUIRE_FALSE(std::is_base_of_v<dtm::BadInput, dtm::EndedError>);
}
