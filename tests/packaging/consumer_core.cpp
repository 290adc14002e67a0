/// A program that needs neither SQLite nor HTTP.
#include <dtm/client/saga.hpp>
#include <dtm/core/version.hpp>
#include <dtm/store/memory.hpp>

int main() { return dtm::kVersion[0] == '0' ? 0 : 1; }
