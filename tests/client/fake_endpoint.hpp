/// A coordinator that only records what builders hand it.
/// Needs: std. Threads: one.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <dtm/core/endpoint.hpp>

class FakeEndpoint : public dtm::Endpoint {
 public:
  std::string NewGid() override { return "gid-" + std::to_string(++gids_); }

  dtm::TransResult Submit(dtm::Definition definition) override {
    return Take(std::move(definition));
  }
  dtm::TransResult SubmitAndWait(dtm::Definition definition, dtm::Duration timeout) override {
    waited.push_back(timeout);
    return Take(std::move(definition));
  }
  void SubmitAsync(dtm::Definition definition, dtm::ReplyCallback callback) override {
    callback({Take(std::move(definition)), nullptr});
  }
  std::string UrlOfLocal(const std::string& name, std::uint64_t owner) const override {
    if (owner != kOwner) throw dtm::LogicError("function '" + name + "' is not mine");
    return dtm::kLocalPrefix + name;
  }

  static constexpr std::uint64_t kOwner = 42;
  std::vector<dtm::Definition> submitted;
  std::vector<dtm::Duration> waited;
  dtm::Status status = dtm::Status::kSubmitted;

 private:
  dtm::TransResult Take(dtm::Definition definition) {
    submitted.push_back(std::move(definition));
    return {submitted.back().gid, status, {}};
  }
  int gids_ = 0;
};
