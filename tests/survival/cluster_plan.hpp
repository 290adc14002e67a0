/// What each transaction of the cluster's test does: a function of its gid, so that any process can submit or resume it.
/// Needs: nlohmann/json. Threads: values only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace survival {

/// One branch, and how its action (of a tcc: its try) behaves.
struct Piece {
  std::string gid;
  int step = 0;
  int ms = 0;  ///< it takes so long
  bool fails = false;
  bool lost = false;  ///< it takes effect, and the answer to the first call in each process is lost
  bool url = false;   ///< it is in cluster_branches.py
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Piece, gid, step, ms, fails, lost, url)

struct ClusterPlan {
  std::string type;  ///< saga, message, tcc, workflow, xa
  /// Of a message: what its initiator does after it has prepared. commit: its local step, and it submits; dies: its local
  /// step, and nothing more; forgets: nothing; refuse: its local step fails.
  std::string fate;
  bool asks_url =
      false;  ///< the local step of a message, and who is asked for it, are in cluster_branches.py
  std::vector<Piece> pieces;
  bool concurrent = false;
  bool succeeds =
      true;  ///< but for tcc and xa, which end by their timeout if their initiator is away

  ClusterPlan(const std::string& gid, std::uint64_t seed) : type(gid.substr(0, gid.find('-'))) {
    std::seed_seq sequence{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32),
                           static_cast<std::uint32_t>(std::hash<std::string>{}(gid))};
    std::mt19937 random(sequence);
    const auto below = [&random](unsigned n) { return static_cast<int>(random() % n); };
    concurrent = below(3) == 0;
    const int count = 1 + below(3);
    for (int step = 1; step <= count; ++step) {
      const int ms = 10 + below(150);
      const bool lost = below(12) == 0;
      const bool url = below(2) == 0;
      pieces.push_back({gid, step, ms, false, lost && type != "xa", url && type != "xa"});
    }
    if (type == "message") {
      asks_url = below(2) == 0;
      DecideMessage(below(10));
      return;
    }
    if (below(4) != 0) return;
    succeeds = false;
    pieces[static_cast<std::size_t>(below(static_cast<unsigned>(count)))].fails = true;
  }

  /// As the checker reads it.
  std::string Text() const {
    nlohmann::json fails = nlohmann::json::array();
    for (const Piece& piece : pieces) fails.push_back(piece.fails);
    return nlohmann::json{{"type", type}, {"fails", fails}, {"succeeds", succeeds}}.dump();
  }

 private:
  void DecideMessage(int die) {
    static constexpr const char* kFates[] = {"commit", "commit", "commit", "commit",  "commit",
                                             "dies",   "dies",   "dies",   "forgets", "refuse"};
    fate = kFates[die];
    succeeds = die < 8;
  }
};

}  // namespace survival
