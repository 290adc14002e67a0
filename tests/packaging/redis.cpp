/// The barrier for Redis, with its driver; there is no server, and it says so.
#include <cstdlib>
#include <cstring>

#include <dtm/barrier/redis_barrier.hpp>

int main() {
  dtm::Barrier barrier("saga", "1", "01", "action");
  redisContext* const connection = redisConnectUnix("/nowhere");
  int result = 1;
  try {
    (void)dtm::RedisBarrier(connection).CheckAdjustAmount(barrier, "account", 1);
  } catch (const dtm::RedisError& error) {
    if (std::strstr(error.what(), "nothing was sent") != nullptr) result = EXIT_SUCCESS;
  }
  redisFree(connection);
  return result;
}
