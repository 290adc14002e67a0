/// Who takes part in a transaction, and the names of its calls, as they are drawn.
/// Needs: std. Threads: values and pure functions.
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/base/text.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/types.hpp>
#include <dtm/core/url.hpp>
#include <dtm/timeline/drawing/diagram.hpp>
#include <dtm/timeline/drawing/shown_text.hpp>

namespace dtm {
inline namespace v1 {
namespace timeline {

inline constexpr std::size_t kApplication = 0;
inline constexpr std::size_t kCoordinator = 1;
inline constexpr std::size_t kMaxServices = 6;  ///< more are drawn as one
inline constexpr std::size_t kMaxName = 40;     ///< columns

/// A name of at most kMaxName columns, as it is shown.
inline std::string ShownName(const std::string& name) {
  return drawing::Fitted(drawing::Shown(Truncated(name, 4 * kMaxName)), kMaxName);
}

/// Whom a URL calls: all calls with the same key go to one lifeline.
struct Service {
  std::string key{};  ///< empty: nobody is called by a message
  std::vector<std::string>
      names{};  ///< from the shortest, which others may have too, to the longest
};

inline Service ServiceOf(const std::string& url) {
  if (url.empty() || RunsInTransaction(url)) return {};
  if (IsLocal(url)) return {"functions", {"functions", "registered functions"}};
  Service service;
  try {
    const Url parts = ParseUrl(url);
    const bool address = parts.host.find(':') != std::string::npos ||
                         parts.host.find_first_not_of("0123456789.") == std::string::npos;
    service.key = parts.Origin();
    if (!address && parts.host != "localhost") {
      service.names = {parts.host.substr(0, parts.host.find('.')), parts.host};
    }
    service.names.push_back(parts.Authority());
    service.names.push_back(parts.Origin());
  } catch (const Error&) {  // of another dtm, or damaged
    const std::size_t scheme = url.find("://");
    const std::size_t begin = scheme == std::string::npos ? 0 : scheme + 3;
    service.key = ShownUrl(url.substr(0, url.find_first_of("/?#", begin)));
    service.names = {service.key};
  }
  return service;
}

/// "TransIn" of http://bank/api/TransIn?x=1 and of a function of that name.
inline std::string NameOfCall(const Definition& definition, const std::string& url) {
  if (IsLocal(url)) {
    const std::string name = url.substr(kLocalPrefixSize);
    return RunsInTransaction(url) ? name.substr(sizeof kInTransactionPrefix - 1) : name;
  }
  std::string path = ShownUrl(url);
  const std::size_t query = (std::min)(path.find('?'), path.size());
  constexpr std::string_view kMethod = "method=";
  const std::size_t method = definition.json_rpc ? path.find(kMethod, query) : std::string::npos;
  if (method != std::string::npos) {
    path = path.substr(method + kMethod.size());
    return PercentDecoded(path.substr(0, path.find('&')));
  }
  path.erase((std::min)(path.find_first_of("?#"), path.size()));
  while (!path.empty() && path.back() == '/') path.pop_back();
  const std::size_t scheme = path.find("://");
  const std::size_t slash = path.rfind('/');
  if (scheme == std::string::npos || slash < scheme + 3) return {};
  return PercentDecoded(path.substr(slash + 1));
}

/// "01 TransIn", "01 compensate TransInCom": the branch id, the operation where the name does not say it, and the name.
inline std::string CallInWords(const Definition& definition, std::size_t row) {
  if (row >= RowCount(definition)) return "row " + std::to_string(row);
  const Op op = OpOf(definition, row);
  std::string name = NameOfCall(definition, UrlOf(definition, row));
  if (definition.type == TransType::kWorkflow && row != kQueryRow) {
    const std::string& own = definition.steps[StepOf(definition.type, row)].topic;
    if (!own.empty()) name = own;
  }
  std::string text = BranchIdOf(definition, row);
  const bool implied = op == Op::kAction || op == Op::kMsg || Lowered(name) == Name(op);
  if (!implied || name.empty()) text += std::string(" ") + Name(op);
  if (op != Op::kResume && !name.empty()) text += " " + name;
  return ShownName(text);
}

/// The lifelines of one drawing. First Add each call, then Name.
class Lifelines {
 public:
  explicit Lifelines(const Definition& definition) : definition_(definition) {
    if (!RegistersSteps(definition.type)) return;
    const bool query = HasQueryRow(definition.type);
    for (std::size_t row = 1; row < RowCount(definition); row += query ? 1 : 2) {
      parents_.emplace(BranchIdOf(definition, row), row);
    }
  }

  void Add(std::size_t row) {
    if (row >= RowCount(definition_) || IsInitiator(row) || rows_.count(row) > 0) return;
    const Service service = ServiceOf(UrlOf(definition_, row));
    if (service.key.empty()) return;
    const auto [found, is_new] = keys_.emplace(service.key, services_.size());
    if (is_new) services_.push_back(service);
    rows_.emplace(row, found->second);
  }

  /// The application and the coordinator, then the services in the order in which they were added.
  std::vector<Lifeline> Name() {
    std::vector<Lifeline> lifelines{{"application"}, {"coordinator"}};
    const bool all = services_.size() <= kMaxServices;
    drawn_ = all ? services_.size() : kMaxServices - 1;
    NameServices();
    for (std::size_t i = 0; i < drawn_; ++i) {
      const std::string& longest = services_[i].names.back();
      lifelines.push_back({names_[i], ShownName(longest)});
    }
    if (!all) {
      const std::string others = std::to_string(services_.size() - drawn_) + " others";
      lifelines.push_back({others, "hosts that have no lifeline of their own"});
    }
    return lifelines;
  }

  /// Who is called by that row; nothing if the coordinator does it itself.
  std::optional<std::size_t> Of(std::size_t row) const {
    if (row < RowCount(definition_) && IsInitiator(row)) return kApplication;
    const std::size_t service = FindService(row);
    if (service == kNone) return std::nullopt;
    return kCoordinator + 1 + (std::min)(service, drawn_);
  }

  std::string Call(std::size_t row) const {
    const std::string call = CallInWords(definition_, row);
    const std::size_t service = FindService(row);
    return service == kNone || service < drawn_ ? call : call + " at " + names_[service];
  }

  std::string Id(std::size_t row) const {
    if (row >= RowCount(definition_)) return Call(row);
    return ShownName(BranchIdOf(definition_, row));
  }

  /// Who registers the row: the service of the branch that it is nested in ("0102" in "01"), else the application.
  std::size_t Registrant(std::size_t row) const {
    const std::size_t parent = ParentOf(row);
    return parent == kNone ? kApplication : Of(parent).value_or(kApplication);
  }

  /// The row of the branch that this one is nested in; kNone without one.
  std::size_t ParentOf(std::size_t row) const {
    if (row >= RowCount(definition_) || parents_.empty()) return kNone;
    const std::string id = BranchIdOf(definition_, row);
    const auto found =
        parents_.find(id.substr(0, id.size() - (std::min)(id.size(), std::size_t{2})));
    return found == parents_.end() ? kNone : found->second;
  }

  static constexpr std::size_t kNone = SIZE_MAX;

 private:
  /// The question of a message and the resumption of a workflow go to whoever began it.
  bool IsInitiator(std::size_t row) const {
    return HasQueryRow(definition_.type) && row == kQueryRow;
  }

  std::size_t FindService(std::size_t row) const {
    const auto found = rows_.find(row);
    return found == rows_.end() ? kNone : found->second;
  }

  /// Each gets its shortest name that no other one has.
  void NameServices() {
    std::map<std::string, std::size_t> uses{{"application", 1}, {"coordinator", 1}};
    for (const Service& service : services_) {
      const std::set<std::string> names(service.names.begin(), service.names.end());
      for (const std::string& name : names) ++uses[name];
    }
    for (const Service& service : services_) {
      const auto own = std::find_if(service.names.begin(), service.names.end(),
                                    [&uses](const std::string& name) { return uses[name] == 1; });
      const std::string& name = own == service.names.end() ? service.names.back() : *own;
      names_.push_back(ShownName(name));
    }
  }

  const Definition& definition_;
  std::vector<Service> services_;
  std::map<std::string, std::size_t> keys_;     // services
  std::map<std::size_t, std::size_t> rows_;     // that were added, and their services
  std::map<std::string, std::size_t> parents_;  // rows of branches, by their ids
  std::vector<std::string> names_;
  std::size_t drawn_ = 0;  ///< so many services have lifelines of their own
};

}  // namespace timeline
}  // namespace v1
}  // namespace dtm
