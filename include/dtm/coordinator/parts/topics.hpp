/// Topics: names under which urls subscribe to messages; kept in the store, category "topics".
/// Needs: nlohmann/json, store. Threads: pure functions, but for Expand and Subscribers, any thread, and ChangeIn, work for
/// Store::Run.
/// Protocol: §6. A change counts at once, for messages that are prepared or submitted after it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <dtm/base/error.hpp>
#include <dtm/base/text.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/url.hpp>
#include <dtm/core/validate.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

struct Subscriber {
  std::string url;
  std::string remark;
};

namespace topics {

inline constexpr const char kCategory[] = "topics";

/// @throws StoreError  the stored list is damaged.
inline std::vector<Subscriber> Parse(const KeyValue& stored) {
  std::vector<Subscriber> subscribers;
  const nlohmann::json list = nlohmann::json::parse(stored.value, nullptr, false);
  try {
    if (list.is_array()) {
      for (const nlohmann::json& entry : list) {
        subscribers.push_back({entry.value("url", ""), entry.value("remark", "")});
      }
      return subscribers;
    }
  } catch (const nlohmann::json::exception&) {  // an entry of another form
  }
  throw StoreError("the stored subscribers of topic '" + stored.key + "' cannot be read");
}

inline KeyValue ToStore(const std::string& topic, const std::vector<Subscriber>& subscribers,
                        Time now) {
  // By hand: ordered_json would cost every program as much compile time as json.
  std::string list = "[";
  for (const Subscriber& subscriber : subscribers) {
    if (list.size() > 1) list += ',';
    list += R"({"url":)" + nlohmann::json(subscriber.url).dump() + R"(,"remark":)" +
            nlohmann::json(subscriber.remark).dump() + '}';
  }
  list += ']';
  KeyValue value;
  value.category = kCategory;
  value.key = topic;
  value.value = std::move(list);
  value.updated = now;
  return value;
}

/// Empty, or why this subscription is refused.
inline std::string Problem(const std::string& topic, const std::string& url,
                           const std::string& remark) {
  if (topic.empty()) return "empty topic";
  if (url.empty()) return "empty url";
  if (IsTopic(url)) return "a topic cannot subscribe to topic '" + Printable(topic) + "'";
  if (topic.size() > kMaxGidBytes || !IsUtf8(topic)) {
    return "the name of a topic is UTF-8 of at most " + std::to_string(kMaxGidBytes) + " bytes";
  }
  if (url.size() > kMaxUrlBytes || !IsUtf8(url) || remark.size() > kMaxReasonBytes ||
      !IsUtf8(remark)) {
    return "the url or the remark of topic '" + topic + "' is too long or not UTF-8";
  }
  return {};
}

/// What a change makes of the stored value of a topic; none: there is no such topic. After a failure nothing is to be stored.
using Change = std::function<Result(std::optional<KeyValue>& stored, Time now)>;

/// @throws StoreError  the stored list is damaged.
inline Result Subscribe(std::optional<KeyValue>& stored, const std::string& topic,
                        const Subscriber& subscriber, Time now) {
  std::vector<Subscriber> all;
  if (stored) all = Parse(*stored);
  const bool known = std::any_of(
      all.begin(), all.end(), [&](const Subscriber& other) { return other.url == subscriber.url; });
  if (known) return Result::Failure("this url exists");
  if (all.size() >= kMaxSteps) {
    return Result::Failure("topic '" + topic + "' has " + std::to_string(kMaxSteps) +
                           " subscribers, which is the limit");
  }
  all.push_back(subscriber);
  stored = ToStore(topic, all, now);
  return Result::Success();
}

/// The url of the subscriber that is meant, as the text of a success: the one that is given; else that of the only subscriber
/// whom lists show like that, since they show no user and password.
inline Result UrlMeant(const std::vector<Subscriber>& all, const std::string& topic,
                       const std::string& url) {
  std::vector<std::string> shown_so;
  for (const Subscriber& subscriber : all) {
    if (subscriber.url == url) return {Result::Kind::kSuccess, url};
    if (ShownUrl(subscriber.url) == url) shown_so.push_back(subscriber.url);
  }
  if (shown_so.empty()) return Result::Failure("no such an url ");
  if (shown_so.size() == 1) return {Result::Kind::kSuccess, shown_so[0]};
  return Result::Failure(std::to_string(shown_so.size()) + " subscribers of topic '" + topic +
                         "' are shown as '" + url +
                         "', and none was removed; name one by its whole url, with its user and "
                         "password");
}

/// @throws StoreError  the stored list is damaged.
inline Result Unsubscribe(std::optional<KeyValue>& stored, const std::string& topic,
                          const std::string& url, Time now) {
  if (!stored) return Result::Failure("no such a topic");
  std::vector<Subscriber> all = Parse(*stored);
  if (all.empty()) return Result::Failure("this topic is empty");
  Result meant = UrlMeant(all, topic, url);
  if (meant.kind != Result::Kind::kSuccess) return meant;
  all.erase(std::remove_if(all.begin(), all.end(),
                           [&](const Subscriber& other) { return other.url == meant.text; }),
            all.end());
  stored = ToStore(topic, all, now);
  return Result::Success();
}

inline Result Delete(std::optional<KeyValue>& stored, const std::string& topic) {
  if (std::exchange(stored, std::nullopt)) return Result::Success();
  return Result::Failure("there is no topic '" + topic + "'");
}

/// Makes the change in the open batch.
/// @throws StoreError  as the store does, or the stored list is damaged.
inline Result ChangeIn(Store& store, const std::string& topic, const Change& change, Time now) {
  std::optional<KeyValue> value = store.GetValue(kCategory, topic);
  Result result = change(value, now);
  if (result.kind != Result::Kind::kSuccess) return result;
  if (value) {
    store.PutValue(*value);
  } else {
    (void)store.RemoveValue(kCategory, topic);
  }
  return result;
}

/// The present subscribers of a topic; none if there is no such topic.
inline std::vector<Subscriber> Subscribers(Store& store, const std::string& topic) {
  if (topic.empty()) return {};  // ScanValues takes an empty key for any
  const KeyValuePage page = store.ScanValues(kCategory, topic, 0, 1);
  return page.values.empty() ? std::vector<Subscriber>() : Parse(page.values[0]);
}

inline bool HasTopics(const Definition& message) {
  return message.type == TransType::kMsg &&
         std::any_of(message.steps.begin(), message.steps.end(),
                     [](const Step& step) { return IsTopic(step.action); });
}

/// Replaces the topics of a message by what `subscribers_of` says of each: of step 01 there may be 01-01, 01-02 and so on.
/// A topic without subscribers stays, and is refused where a new message is stored.
template <typename SubscribersOf>
void ExpandBy(Definition& message, const SubscribersOf& subscribers_of) {
  std::vector<Step> expanded;
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < message.steps.size(); ++i) {
    Step step = std::move(message.steps[i]);
    step.branch_id = NumberOf(i);
    const std::vector<Subscriber> subscribers =
        IsTopic(step.action) ? subscribers_of(step.action.substr(kTopicPrefixSize))
                             : std::vector<Subscriber>();
    if (subscribers.empty()) {
      expanded.push_back(std::move(step));
      continue;
    }
    step.topic = step.action;
    for (std::size_t j = 0; j < subscribers.size(); ++j) {
      // It will be refused, so copy no more payloads.
      if (expanded.size() > kMaxSteps || bytes > kMaxDefinitionBytes) break;
      bytes += subscribers[j].url.size() + step.payload.size();
      Step one = step;
      one.action = subscribers[j].url;
      if (subscribers.size() > 1) one.branch_id += "-" + NumberOf(j);
      expanded.push_back(std::move(one));
    }
  }
  message.steps = std::move(expanded);
}

/// By those that are stored. A stored message keeps the subscribers it has: new ones must not bring its submit beyond a limit
/// after its local transaction has committed. False: nothing was replaced.
inline bool Expand(Definition& message, Store& store) {
  if (!HasTopics(message) || store.Load(message.gid)) return false;
  ExpandBy(message, [&store](const std::string& topic) { return Subscribers(store, topic); });
  return true;
}

/// @throws BadInput       it can never be carried out.
/// @throws RejectedError  it cannot be carried out with the present subscribers of its topics.
inline void CheckAndExpand(Definition& definition, Store& store) {
  std::string problem = dtm::Problem(definition);
  if (!problem.empty()) throw BadInput(problem);
  if (Expand(definition, store)) problem = dtm::Problem(definition);
  if (!problem.empty()) throw RejectedError(problem);
}

/// Refuses what only a repeat, or the submit of a prepared message, may have: a topic without subscribers, or orders for
/// steps that are not given.
/// @throws RejectedError, BadInput
inline void CheckNew(const Definition& definition) {
  if (definition.steps.empty()) {
    const std::string problem = OrdersProblem(definition);
    if (!problem.empty()) throw BadInput(problem);
  }
  if (definition.type != TransType::kMsg) return;
  for (const Step& step : definition.steps) {
    if (!IsTopic(step.action)) continue;
    throw RejectedError("gid '" + definition.gid + "': topic not found: " +
                        step.action.substr(kTopicPrefixSize) + "; subscribe somebody to it first");
  }
}

}  // namespace topics
}  // namespace v1
}  // namespace dtm
