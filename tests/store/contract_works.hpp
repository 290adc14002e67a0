/// The contract of stores, part 4: user work inside a batch, and what it may do there.
/// Needs: Catch2, store. Threads: one thread.
#pragma once

#include <stdexcept>
#include <string>

#include "tests/catch.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/store/store.hpp>

namespace dtm_test {
namespace store_contract {

using dtm::KeyValue;

inline void WorkResults(Store& store) {
  Transaction before = NewTransaction("before");
  Transaction after = NewTransaction("later");
  using Kind = Result::Kind;
  store.Begin();
  const Batch batch_before(store, {&before});
  CHECK(store.Has("before"));
  CHECK_FALSE(store.Has("later"));
  CHECK(store.Run([](const dtm::WorkContext&) { return Result::Success(); }).kind ==
        Kind::kSuccess);
  const Result failure =
      store.Run([](const dtm::WorkContext&) { return Result::Failure("no money"); });
  CHECK(failure.kind == Kind::kFailure);
  CHECK(failure.text == "no money");
  CHECK(store.Run([](const dtm::WorkContext&) { return Result::Ongoing(); }).kind ==
        Kind::kOngoing);
  const Result thrown =
      store.Run([](const dtm::WorkContext&) -> Result { throw dtm::FailureError("too late"); });
  CHECK(thrown.kind == Kind::kFailure);
  CHECK(thrown.text == "too late");
  const Result error =
      store.Run([](const dtm::WorkContext&) -> Result { throw std::runtime_error("oops"); });
  CHECK(error.kind == Kind::kError);
  CHECK(error.text == "oops");
  CHECK(store.Run([](const dtm::WorkContext&) -> Result { throw 7; }).kind == Kind::kError);
  const Batch batch_after(store, {&after});
  store.Commit();
  CHECK(Gids(All(store)) == Texts{"later", "before"});
  store.Begin();
  CHECK(store.Has("before"));
  CHECK_FALSE(store.Has("Before"));
  store.Rollback();
}

inline KeyValue ValueOf(const std::string& key, const std::string& text) {
  KeyValue value;
  value.category = "topics";
  value.key = key;
  value.value = text;
  value.updated = At(1);
  return value;
}
inline std::string KeptValues(Store& store) {
  std::string all;
  for (const KeyValue& value : store.ScanValues("topics", "", 0, 100).values) {
    all += value.key + "=" + value.value + "v" + std::to_string(value.version) + " ";
  }
  return all;
}

/// Our own work uses Run as well: topics.
inline void WorkKeepsOrUndoesValues(Store& store) {
  const auto put = [&store](const char* key, const char* text, const Result& result) {
    return store.Run([&store, key, text, result](const dtm::WorkContext&) {
      store.PutValue(ValueOf(key, text));
      const auto written = store.GetValue("topics", key);  // it sees what it does
      if (!written || written->value != text) return Result::Error("it is not there");
      return result;
    });
  };
  store.Begin();
  CHECK(put("a", "1", Result::Success()).text.empty());
  CHECK(put("a", "2", Result::Failure("no")).text == "no");
  CHECK(put("b", "1", Result::Ongoing("soon")).text == "soon");
  CHECK(put("c", "1", Result::Success()).text.empty());
  CHECK(KeptValues(store).empty());
  store.Commit();
  CHECK(KeptValues(store) == "a=1v1 c=1v1 ");

  store.Begin();
  CHECK(put("a", "3", Result::Success()).text.empty());
  const Result removed = store.Run([&store](const dtm::WorkContext&) -> Result {
    if (!store.RemoveValue("topics", "c")) return Result::Error("it was not there");
    if (store.RemoveValue("topics", "c")) return Result::Error("it was there twice");
    if (store.GetValue("topics", "c")) return Result::Error("it is still there");
    throw std::runtime_error("undo");
  });
  CHECK(removed.text == "undo");
  CHECK(store
            .Run([&store](const dtm::WorkContext&) {
              return store.GetValue("topics", "c") ? Result::Success() : Result::Failure("gone");
            })
            .kind == Result::Kind::kSuccess);
  store.Commit();
  CHECK(KeptValues(store) == "a=3v2 c=1v1 ");

  store.Begin();
  CHECK(put("a", "4", Result::Success()).text.empty());
  store.Rollback();
  CHECK(KeptValues(store) == "a=3v2 c=1v1 ");
}

inline void ManyWorksInABatch(Store& store) {
  int runs = 0;
  store.Begin();
  for (int i = 0; i < 500; ++i) {
    const Result result = store.Run([&runs, i](const dtm::WorkContext&) {
      ++runs;
      return i % 3 == 0 ? Result::Failure(std::to_string(i)) : Result::Success();
    });
    CHECK(result.text == (i % 3 == 0 ? std::to_string(i) : ""));
  }
  Transaction one = NewTransaction("one");
  const Batch batch_one(store, {&one});
  store.Commit();
  CHECK(runs == 500);
  CHECK(Gids(All(store)) == Texts{"one"});
}

inline void WorkIsRolledBackWithItsBatch(Store& store) {
  store.Begin();
  CHECK(store
            .Run([&store](const dtm::WorkContext&) {
              store.PutValue(ValueOf("a", "1"));
              return Result::Success();
            })
            .kind == Result::Kind::kSuccess);
  store.Rollback();
  CHECK(KeptValues(store).empty());
  Transaction one = NewTransaction("one");
  REQUIRE(Put(store, one));
  CHECK(KeptValues(store).empty());
  CHECK(Gids(All(store)) == Texts{"one"});
}

}  // namespace store_contract
}  // namespace dtm_test
