/// The smallest program that uses dtm over HTTP.
#include <dtm/http.hpp>

int main() { return dtm::kVersion[0] == '0' ? 0 : 1; }
