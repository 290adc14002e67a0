/// The corpus of the fuzz targets, as an ordinary test: the bytes that once were new, or once were wrong.
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/catch.hpp"
#include "tests/fuzz/targets.hpp"

TEST_CASE("fuzz: every rule holds for the corpus, and for each of its beginnings") {
  const std::filesystem::path folder = std::filesystem::path(__FILE__).parent_path() / "corpus";
  for (const dtm_fuzz::Target& target : dtm_fuzz::kTargets) {
    std::size_t files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder / target.name)) {
      CAPTURE(entry.path());
      std::ifstream file(entry.path(), std::ios::binary);
      const std::string bytes{std::istreambuf_iterator<char>(file), {}};
      target.run(bytes);
      for (std::size_t size = 0; size < bytes.size(); size += 1 + bytes.size() / 64)
        target.run(bytes.substr(0, size));
      ++files;
    }
    CAPTURE(target.name);
    CHECK(files > 4);
  }
}
