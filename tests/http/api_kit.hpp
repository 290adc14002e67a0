/// The API without sockets: requests to a coordinator of virtual time whose branches follow a script.
/// Needs: the test kit. Threads: one thread.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "tests/http/raw_client.hpp"
#include <dtm/http/api/api.hpp>
#include <dtm/testing/test_coordinator.hpp>

namespace dtm_test {

using Query = std::multimap<std::string, std::string>;

struct ApiKit {
  explicit ApiKit(dtm::testing::TestCoordinator::Setup setup = {}, dtm::Options options = Quiet(),
                  std::shared_ptr<dtm::Store> store = std::make_shared<dtm::MemoryStore>())
      : kit(std::move(setup), std::move(options), std::move(store)), api(*kit) {}

  /// `path` is below the base, or begins with a slash.
  dtm::ApiReply Ask(const std::string& method, const std::string& path, Query query = {},
                    std::string body = {}) {
    const std::string whole = path[0] == '/' ? path : "/api/dtmsvr/" + path;
    return api.Handle({method, whole, std::move(query), std::move(body)});
  }
  dtm::ApiReply AskGet(const std::string& path, Query query = {}) {
    return Ask("GET", path, std::move(query));
  }
  dtm::ApiReply AskPost(const std::string& path, std::string body) {
    return Ask("POST", path, {}, std::move(body));
  }
  Json Shown(const std::string& gid) {
    return Json::parse(AskGet("query", {{"gid", gid}}).body)["transaction"];
  }
  std::string StatusOf(const std::string& gid) {
    const Json shown = Shown(gid);
    return shown.is_null() ? "none" : shown["status"].get<std::string>();
  }

  dtm::testing::TestCoordinator kit;
  dtm::Api api;
};

inline std::string OnlyGid(const std::string& gid) { return R"({"gid":")" + gid + R"("})"; }

}  // namespace dtm_test
