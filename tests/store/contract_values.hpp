/// The contract of stores, part 4: values are written by the work of a batch, as new versions, and are
/// undone with it; readers see the committed ones, in pages. Needs: Catch2, store. Threads: one.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/store/store.hpp>

namespace dtm_test {
namespace store_contract {

inline dtm::KeyValue NewValue(const std::string& category, const std::string& key,
                              const std::string& text, dtm::Time updated = At(0)) {
  dtm::KeyValue value;
  value.category = category;
  value.key = key;
  value.value = text;
  value.updated = updated;
  return value;
}

/// As "category/key=value#version".
inline std::string Told(const dtm::KeyValue& value) {
  return value.category + "/" + value.key + "=" + value.value + "#" + std::to_string(value.version);
}

/// What is committed, in order; an empty category or key is any.
inline std::vector<std::string> Values(dtm::Store& store, const std::string& category = {},
                                       const std::string& key = {}) {
  std::vector<std::string> told;
  for (const dtm::KeyValue& value : store.ScanValues(category, key, 0, 1000).values) {
    told.push_back(Told(value));
  }
  return told;
}

/// One batch with this work, which succeeds.
inline void PutOne(dtm::Store& store, const dtm::KeyValue& value) {
  store.Begin();
  const dtm::Result result = store.Run([&](const dtm::WorkContext&) {
    store.PutValue(value);
    return dtm::Result::Success();
  });
  REQUIRE(result.kind == dtm::Result::Kind::kSuccess);
  store.Commit();
}

inline void ValuesAreSeenByTheBatchFirst(dtm::Store& store) {
  store.Begin();
  CHECK_FALSE(store.GetValue("c", "k").has_value());
  store.PutValue(NewValue("c", "k", "one", At(5)));
  const auto inside = store.GetValue("c", "k");
  REQUIRE(inside.has_value());
  CHECK(Told(*inside) == "c/k=one#1");
  CHECK(Values(store).empty());  // nobody else sees it yet
  store.Commit();
  CHECK(Values(store) == std::vector<std::string>{"c/k=one#1"});
  const dtm::KeyValue stored = store.ScanValues("c", "k", 0, 1).values.at(0);
  CHECK(stored.created == At(5));
  CHECK(stored.updated == At(5));
  CHECK(stored.id > 0);
}

inline void ValuesCountTheirVersions(dtm::Store& store) {
  PutOne(store, NewValue("c", "k", "one", At(1)));
  dtm::KeyValue again = NewValue("c", "k", "two", At(9));
  again.version = 77;  // is the store's to count
  again.created = At(8);
  again.id = 12345;
  PutOne(store, again);
  const dtm::KeyValue stored = store.ScanValues("c", "k", 0, 1).values.at(0);
  CHECK(Told(stored) == "c/k=two#2");
  CHECK(stored.created == At(1));
  CHECK(stored.updated == At(9));
  CHECK(stored.id < 12345);

  store.Begin();
  store.PutValue(NewValue("c", "k", "three"));
  store.PutValue(NewValue("c", "k", "four"));
  CHECK(store.GetValue("c", "k")->version == 4);
  store.Commit();
  CHECK(Values(store) == std::vector<std::string>{"c/k=four#4"});
}

inline void RemovedValuesAreGone(dtm::Store& store) {
  PutOne(store, NewValue("c", "k", "one"));
  PutOne(store, NewValue("c", "l", "other"));
  store.Begin();
  CHECK(store.RemoveValue("c", "k"));
  CHECK_FALSE(store.RemoveValue("c", "k"));
  CHECK_FALSE(store.RemoveValue("c", "none"));
  CHECK_FALSE(store.RemoveValue("l", "c"));
  CHECK_FALSE(store.GetValue("c", "k").has_value());
  CHECK(Values(store).size() == 2);
  store.Commit();
  CHECK(Values(store) == std::vector<std::string>{"c/l=other#1"});
  PutOne(store, NewValue("c", "k", "new", At(3)));
  const dtm::KeyValue fresh = store.ScanValues("c", "k", 0, 1).values.at(0);
  CHECK(Told(fresh) == "c/k=new#1");
  CHECK(fresh.created == At(3));
}

inline void FailedWorkLeavesValuesAlone(dtm::Store& store) {
  PutOne(store, NewValue("c", "k", "one"));
  const auto change = [&store] {
    store.PutValue(NewValue("c", "k", "bad"));
    store.PutValue(NewValue("c", "other", "bad"));
    CHECK(store.RemoveValue("c", "k"));
  };
  dtm::Transaction beside = NewTransaction("beside");
  store.Begin();
  const Batch batch_beside(store, {&beside});
  store.PutValue(NewValue("c", "before", "good"));
  (void)store.Run([&](const dtm::WorkContext&) {
    change();
    return dtm::Result::Failure("no");
  });
  CHECK(store.GetValue("c", "k")->value == "one");
  (void)store.Run([&](const dtm::WorkContext&) {
    change();
    return dtm::Result::Ongoing();
  });
  (void)store.Run([&](const dtm::WorkContext&) -> dtm::Result {
    change();
    throw std::runtime_error("oops");
  });
  CHECK_FALSE(store.GetValue("c", "other").has_value());
  (void)store.Run([&](const dtm::WorkContext&) {
    store.PutValue(NewValue("c", "later", "good"));
    return dtm::Result::Success();
  });
  store.Commit();
  CHECK(Values(store) ==
        std::vector<std::string>{"c/k=one#1", "c/before=good#1", "c/later=good#1"});
  CHECK(store.Load("beside").has_value());
}

inline void RolledBackValuesAreTheOldOnes(dtm::Store& store) {
  PutOne(store, NewValue("c", "k", "one"));
  PutOne(store, NewValue("c", "l", "two"));
  for (const bool recover : {false, true}) {
    store.Begin();
    store.PutValue(NewValue("c", "k", "bad"));
    store.PutValue(NewValue("c", "new", "bad"));
    CHECK(store.RemoveValue("c", "l"));
    recover ? store.Recover() : store.Rollback();
    CHECK(Values(store) == std::vector<std::string>{"c/k=one#1", "c/l=two#1"});
    store.Begin();
    CHECK(store.GetValue("c", "k")->value == "one");
    CHECK_FALSE(store.GetValue("c", "new").has_value());
    CHECK(store.GetValue("c", "l").has_value());
    store.Rollback();
  }
  PutOne(store, NewValue("c", "k", "next"));
  CHECK(Values(store) == std::vector<std::string>{"c/k=next#2", "c/l=two#1"});
}

inline void ValuesAreFoundByCategoryAndKey(dtm::Store& store) {
  const std::string odd = "k'%_\xC3\xA4 \"";
  PutOne(store, NewValue("a", "x", "1"));
  PutOne(store, NewValue("b", "x", "2"));
  PutOne(store, NewValue("a", "y", "3"));
  PutOne(store, NewValue("ab", odd, "4"));
  PutOne(store, NewValue("a", "X", ""));
  CHECK(Values(store) == Texts{"a/x=1#1", "b/x=2#1", "a/y=3#1", "ab/" + odd + "=4#1", "a/X=#1"});
  CHECK(Values(store, "a") == Texts{"a/x=1#1", "a/y=3#1", "a/X=#1"});
  CHECK(Values(store, "", "x") == Texts{"a/x=1#1", "b/x=2#1"});
  CHECK(Values(store, "b", "x") == Texts{"b/x=2#1"});
  CHECK(Values(store, "ab", odd) == Texts{"ab/" + odd + "=4#1"});
  CHECK(Values(store, "A").empty());
  CHECK(Values(store, "b", "y").empty());
  CHECK(Values(store, "a%").empty());
}

inline void ValuesComeInPages(dtm::Store& store) {
  for (int i = 0; i < 7; ++i) {
    PutOne(store, NewValue(i % 2 == 0 ? "even" : "odd", std::to_string(i), "v"));
  }
  PutOne(store, NewValue("even", "0", "again"));  // stays where it was
  std::string seen;
  std::int64_t position = 0;
  int pages = 0;
  do {
    const dtm::KeyValuePage page = store.ScanValues("even", "", position, 2);
    CHECK(page.values.size() <= 2);
    for (const dtm::KeyValue& value : page.values) seen += value.key + " ";
    position = page.next;
    ++pages;
  } while (position != 0 && pages < 10);
  CHECK(seen == "0 2 4 6 ");
  CHECK(pages == 3);  // the last one was full, so an empty one follows
  const dtm::KeyValuePage all = store.ScanValues("", "", 0, 8);
  CHECK(all.values.size() == 7);
  CHECK(all.next == 0);
  CHECK(store.ScanValues("", "", all.values.back().id, 8).values.empty());
  const dtm::KeyValuePage none = store.ScanValues("", "", 0, 0);
  CHECK(none.values.empty());
  CHECK(none.next == 0);
}

}  // namespace store_contract
}  // namespace dtm_test
