/// The stored bytes: they are what docs/store_format.md says, they come back, and whatever happens
/// to them reading ends with a record or a StoreError.
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include "tests/catch.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/store/codec.hpp>

using namespace dtm_test;  // NOLINT(google-build-using-namespace)
using dtm::StoreError;
using dtm::Transaction;
namespace codec = dtm::codec;

namespace {

std::string Bytes(std::initializer_list<int> values) {
  std::string bytes;
  for (const int value : values) bytes.push_back(static_cast<char>(value));
  return bytes;
}

std::shared_ptr<dtm::Definition> GoldenDefinition() {
  auto definition = std::make_shared<dtm::Definition>();
  definition->gid = "gid";
  definition->concurrent = true;
  definition->options.wait_result = true;
  definition->options.timeout_to_fail = std::chrono::seconds(300);
  definition->options.request_timeout = std::chrono::seconds(3);
  definition->options.retry_interval = std::chrono::seconds(10);
  definition->options.retry_limit = 5;
  definition->options.branch_headers = {{"k", "v"}};
  definition->orders = {{1, {0}}};
  definition->steps = {{"local:A", "local:B", "{}"}, {"http://b/in", "", ""}};
  return definition;
}

std::string GoldenDefinitionBytes() {
  return Bytes({2,                          // format
                3,                          // concurrent, wait_result
                0xAC, 0x02,                 // timeout_to_fail
                3,    10,   5,              // request_timeout, retry_interval, retry_limit
                1,    1,    'k', 1,   'v',  // headers
                1,    1,    1,   0,         // orders: 1 after 0
                2,                          // steps
                7,    'l',  'o', 'c', 'a', 'l', ':', 'A',  //
                7,    'l',  'o', 'c', 'a', 'l', ':', 'B',  //
                2,    '{',  '}',                           //
                11,   'h',  't', 't', 'p', ':', '/', '/', 'b', '/', 'i', 'n', 0, 0});
}

Transaction GoldenState() {
  Transaction transaction;
  transaction.definition = GoldenDefinition();
  transaction.stuck = true;
  transaction.retry_count = 130;
  transaction.reason = "no";
  transaction.branches.resize(4);
  transaction.branches[1].status = dtm::BranchStatus::kSucceed;
  transaction.branches[1].tries = 1;
  transaction.branches[2].tries = 3;
  transaction.branches[2].errors = 2;
  transaction.branches[2].next_try = dtm::Time(std::chrono::seconds(1));
  transaction.branches[3].status = dtm::BranchStatus::kFailed;
  transaction.branches[3].tries = 1;
  transaction.branches[3].deadline = dtm::Time(dtm::Duration(2));
  transaction.branches[3].in_flight = true;  // is not stored
  transaction.created = dtm::Time(std::chrono::seconds(7));
  transaction.branches[1].finished = transaction.created + dtm::Duration(300);
  transaction.updated = transaction.created + dtm::Duration(2);
  transaction.reason_from = 4;
  return transaction;
}

std::string GoldenStateBytes() {
  return Bytes({2,                                   // format
                13,                                  // stuck; updated, reason_from
                0x82, 0x01,                          // retry_count
                2,    'n',  'o',  0,                 // reason, last_error
                4,                                   // branches
                0x01,                                // prepared
                0x46, 1,    0xAC, 0x02,              // succeed; tries, finished
                0x1D, 3,    2,    0xC0, 0x84, 0x3D,  // prepared; tries, errors, next_try
                0x27, 1,    2,                       // failed; tries, deadline
                2,    4});                           // updated, reason_from
}

std::string Encoded(const Transaction& transaction) {
  std::string bytes;
  codec::EncodeState(transaction, bytes);
  return bytes;
}

/// Decodes, whatever comes; anything but a record or a StoreError is a failure of the test.
bool DefinitionDecodes(const std::string& bytes) {
  try {
    const auto definition = codec::DecodeDefinition("gid", dtm::TransType::kSaga, bytes);
    // Who drives it uses them as indexes.
    const auto exists = [&](int step) {
      return step >= 0 && static_cast<std::size_t>(step) < definition->steps.size();
    };
    for (const auto& order : definition->orders) {
      REQUIRE(exists(order.first));
      for (const int before : order.second) REQUIRE(exists(before));
    }
    return true;
  } catch (const StoreError&) {
    return false;
  }
}
bool StateDecodes(const std::string& bytes) {
  try {
    Transaction transaction;
    codec::DecodeState(bytes, transaction);
    return true;
  } catch (const StoreError&) {
    return false;
  }
}

template <typename Decodes>
void ExpectNoByteIsBelieved(const std::string& bytes, const Decodes& decodes) {
  REQUIRE(decodes(bytes));
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    INFO("cut to " << size);
    CHECK_FALSE(decodes(bytes.substr(0, size)));
  }
  int decoded = 0;
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    std::string damaged = bytes;
    for (int value = 0; value < 256; ++value) {
      damaged[at] = static_cast<char>(value);
      if (decodes(damaged)) ++decoded;
    }
    damaged = bytes;
    damaged.erase(at, 1);
    decodes(damaged);
    damaged = bytes;
    damaged.insert(at, 1, '\xFF');
    decodes(damaged);
  }
  CHECK(decoded > 0);  // a letter of a text may be any
  CHECK_FALSE(decodes(bytes + '\0'));
}

}  // namespace

TEST_CASE("format 2 of a definition, byte by byte") {
  CHECK(codec::EncodeDefinition(*GoldenDefinition()) == GoldenDefinitionBytes());
  const auto definition =
      codec::DecodeDefinition("gid", dtm::TransType::kSaga, GoldenDefinitionBytes());
  Transaction expected;
  expected.definition = GoldenDefinition();
  Transaction got;
  got.definition = definition;
  CHECK(Difference(got, expected).empty());
  CHECK(codec::EncodeDefinition(dtm::Definition{}) == Bytes({2, 0, 0, 0, 0, 0, 0, 0, 0}));
}

TEST_CASE("the flags of a definition are one bit each, and nothing else depends on them") {
  for (int flags = 0; flags < 8; ++flags) {
    CAPTURE(flags);
    auto definition = GoldenDefinition();
    definition->concurrent = (flags & 1) != 0;
    definition->options.wait_result = (flags & 2) != 0;
    definition->prepared_first = (flags & 4) != 0;
    std::string bytes = GoldenDefinitionBytes();
    bytes[1] = static_cast<char>(flags);
    CHECK(codec::EncodeDefinition(*definition) == bytes);
    Transaction expected, got;
    expected.definition = definition;
    got.definition = codec::DecodeDefinition("gid", dtm::TransType::kSaga, bytes);
    CHECK(Difference(got, expected).empty());
  }
  dtm::Definition empty;
  empty.prepared_first = true;
  CHECK(codec::EncodeDefinition(empty) == Bytes({2, 4, 0, 0, 0, 0, 0, 0, 0}));
}

TEST_CASE("format 2 of a state, byte by byte") {
  CHECK(Encoded(GoldenState()) == GoldenStateBytes());
  Transaction got;
  got.definition = GoldenDefinition();
  got.created = GoldenState().created;  // a column
  codec::DecodeState(GoldenStateBytes(), got);
  CHECK(Difference(got, GoldenState()).empty());
  CHECK_FALSE(got.branches[3].in_flight);
  CHECK(Encoded(Transaction{}) == Bytes({2, 0, 0, 0, 0, 0}));
}

TEST_CASE("format 1 is read for ever") {
  const auto definition = codec::DecodeDefinition("gid", dtm::TransType::kSaga,
                                                  Bytes({1}) + GoldenDefinitionBytes().substr(1));
  CHECK(codec::EncodeDefinition(*definition) == GoldenDefinitionBytes());
  Transaction got, expected = GoldenState();
  got.created = expected.updated = expected.created;
  expected.branches[1].finished = dtm::Time{};
  expected.reason_from = 0;
  got.definition = definition;
  codec::DecodeState(Bytes({1,                                  // format
                            1,                                  // stuck
                            0x82, 0x01,                         // retry_count
                            2,    'n',  'o', 0,                 // reason, last_error
                            4,                                  // branches
                            0x01,                               // prepared
                            0x06, 1,                            // succeed; tries
                            0x1D, 3,    2,   0xC0, 0x84, 0x3D,  // prepared; tries, errors, next_try
                            0x27, 1,    2}),                    // failed; tries, deadline
                     got);
  CHECK(Difference(got, expected).empty());
  // What came with format 2 is damage in format 1.
  CHECK_FALSE(StateDecodes(Bytes({1, 4, 0, 0, 0, 0, 1})));
  CHECK_FALSE(StateDecodes(Bytes({1, 0, 0, 0, 0, 1, 0x42, 1})));
}

TEST_CASE("the time of the last change is stored while it is not the creation or the end") {
  Transaction transaction;
  transaction.created = transaction.updated = dtm::Time(std::chrono::seconds(5));
  CHECK(Encoded(transaction) == Bytes({2, 0, 0, 0, 0, 0}));
  const auto read = [&] {
    Transaction got;
    got.created = transaction.created;
    got.finished = transaction.finished;
    got.status = transaction.status;
    codec::DecodeState(Encoded(transaction), got);
    return got.updated;
  };
  CHECK(read() == transaction.created);
  transaction.updated += std::chrono::hours(24 * 366);
  CHECK(read() == transaction.updated);
  transaction.status = dtm::Status::kFailed;
  transaction.finished = transaction.updated += dtm::Duration(1);
  CHECK(Encoded(transaction) == Bytes({2, 0, 0, 0, 0, 0}));
  CHECK(read() == transaction.finished);
  transaction.status = dtm::Status::kSubmitted;
  transaction.updated = dtm::Time{};  // the clock was set back
  CHECK(read() == transaction.created);
}

TEST_CASE("custom_data of a client and the question of a saga come back from a definition") {
  auto saga = GoldenDefinition();
  saga->query_prepared = "q";
  saga->custom_data = "{ }";
  const std::string bytes = codec::EncodeDefinition(*saga);
  CHECK(static_cast<int>(bytes[1]) == 3 + codec::kMore + codec::kCustomData);
  const auto read = codec::DecodeDefinition("gid", dtm::TransType::kSaga, bytes);
  CHECK(read->query_prepared == "q");
  CHECK(read->custom_data == "{ }");
  CHECK(codec::EncodeDefinition(*read) == bytes);
  CHECK_FALSE(DefinitionDecodes(bytes.substr(0, bytes.size() - 1)));
}

TEST_CASE("what only a message has follows in a definition, byte by byte") {
  dtm::Definition msg;
  msg.gid = "gid";
  msg.type = dtm::TransType::kMsg;
  msg.json_rpc = true;
  msg.query_prepared = "q";
  msg.delay = std::chrono::seconds(300);
  msg.steps = {{"a", "", "p", "01-02", "topic://t"}};
  const std::string bytes =
      Bytes({2, 8 + 16,                                            // format; more, json_rpc
             0, 0,      0,    0,    0,   0,                        // options, headers, orders
             1, 1,      'a',  0,    1,   'p',                      // steps
             5, '0',    '1',  '-',  '0', '2',                      // branch_id
             9, 't',    'o',  'p',  'i', 'c', ':', '/', '/', 't',  // topic
             0, 0,                                                 // op, failed
             1, 'q',    0xAC, 0x02, 0,   0});  // query_prepared, delay, name, data
  CHECK(codec::EncodeDefinition(msg) == bytes);
  const auto read = codec::DecodeDefinition("gid", dtm::TransType::kMsg, bytes);
  CHECK(codec::EncodeDefinition(*read) == bytes);
  CHECK(read->json_rpc);
  CHECK(read->delay == std::chrono::seconds(300));
  CHECK(read->query_prepared == "q");
  CHECK(read->steps.at(0).branch_id == "01-02");
  CHECK(read->steps.at(0).topic == "topic://t");
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    CHECK_THROWS_AS(codec::DecodeDefinition("gid", dtm::TransType::kMsg, bytes.substr(0, size)),
                    StoreError);
  }
  CHECK_THROWS_AS(codec::DecodeDefinition("gid", dtm::TransType::kMsg, bytes + '\0'), StoreError);
}

TEST_CASE("registered branches and a workflow come back from a definition") {
  dtm::Definition tcc;
  tcc.gid = "gid";
  tcc.type = dtm::TransType::kTcc;
  tcc.prepared_first = true;
  tcc.steps = {{"confirm", "cancel", std::string("\0\xFF", 2), "0201"}};
  auto read = codec::DecodeDefinition("gid", tcc.type, codec::EncodeDefinition(tcc));
  CHECK(read->type == dtm::TransType::kTcc);
  CHECK(read->prepared_first);
  CHECK_FALSE(read->json_rpc);
  CHECK(read->steps.at(0).action == "confirm");
  CHECK(read->steps.at(0).compensate == "cancel");
  CHECK(read->steps.at(0).payload == std::string("\0\xFF", 2));
  CHECK(read->steps.at(0).branch_id == "0201");
  CHECK(read->steps.at(0).op == dtm::Op{});

  dtm::Definition workflow;
  workflow.gid = "gid";
  workflow.type = dtm::TransType::kWorkflow;
  workflow.query_prepared = "http://h/resume";
  workflow.workflow = "wf";
  workflow.data = std::string("\0data", 5);
  workflow.steps = {{"", "", "answer", "01", "", dtm::Op::kAction, false},
                    {"", "", "no", "01", "", dtm::Op::kRollback, true}};
  read = codec::DecodeDefinition("gid", workflow.type, codec::EncodeDefinition(workflow));
  CHECK(read->query_prepared == "http://h/resume");
  CHECK(read->workflow == "wf");
  CHECK(read->data == std::string("\0data", 5));
  REQUIRE(read->steps.size() == 2);
  CHECK(read->steps[0].op == dtm::Op::kAction);
  CHECK_FALSE(read->steps[0].failed);
  CHECK(read->steps[0].payload == "answer");
  CHECK(read->steps[1].op == dtm::Op::kRollback);
  CHECK(read->steps[1].failed);
}

TEST_CASE("a saga is stored as before, whatever other types have") {
  auto saga = GoldenDefinition();
  saga->steps[0].branch_id = "09";
  saga->steps[0].topic = "topic://t";
  saga->workflow = "w";
  CHECK(codec::EncodeDefinition(*saga) == GoldenDefinitionBytes());
  std::string json_rpc = GoldenDefinitionBytes();
  json_rpc[1] = 3 + 16;
  saga->json_rpc = true;
  CHECK(codec::EncodeDefinition(*saga) == json_rpc);
  CHECK(codec::DecodeDefinition("gid", dtm::TransType::kSaga, json_rpc)->json_rpc);
  CHECK_FALSE(
      codec::DecodeDefinition("gid", dtm::TransType::kSaga, GoldenDefinitionBytes())->json_rpc);
}

TEST_CASE("the result of a workflow is behind its state") {
  Transaction transaction = GoldenState();
  transaction.result = std::string("r\0", 2);
  transaction.updated = dtm::Time{};
  transaction.reason_from = 0;
  std::string bytes = GoldenStateBytes();
  bytes[1] = 3;  // stuck, result
  bytes.replace(bytes.size() - 2, 2, Bytes({2, 'r', 0}));
  CHECK(Encoded(transaction) == bytes);
  Transaction got;
  codec::DecodeState(bytes, got);
  CHECK(got.result == transaction.result);
  CHECK(got.stuck);
  codec::DecodeState(GoldenStateBytes(), got);
  CHECK(got.result.empty());  // not that of what was read before
  CHECK_FALSE(StateDecodes(bytes.substr(0, bytes.size() - 1)));
  bytes[1] = 19;
  CHECK_FALSE(StateDecodes(bytes));
}

TEST_CASE("numbers are stored as 7 bits a byte, low bits first") {
  struct Row {
    std::uint64_t number;
    std::string bytes;
  };
  const Row rows[] = {
      {0, Bytes({0})},
      {127, Bytes({0x7F})},
      {128, Bytes({0x80, 0x01})},
      {16384, Bytes({0x80, 0x80, 0x01})},
      {std::numeric_limits<std::uint64_t>::max(),
       Bytes({0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01})},
  };
  for (const Row& row : rows) {
    std::string bytes;
    codec::Writer(bytes).Number(row.number);
    CHECK(bytes == row.bytes);
    codec::Reader reader(row.bytes);
    CHECK(reader.Number() == row.number);
    reader.ExpectEnd();
  }
  CHECK_THROWS_AS(codec::Reader(Bytes({0x80})).Number(), StoreError);
  CHECK_THROWS_AS(codec::Reader(std::string(11, '\xFF')).Number(), StoreError);
}

TEST_CASE("a text cannot be longer than what is there") {
  CHECK(codec::Reader(Bytes({2, 'a', 'b'})).Text() == "ab");
  CHECK_THROWS_AS(codec::Reader(Bytes({3, 'a', 'b'})).Text(), StoreError);
  const std::string huge = Bytes({0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01, 'a'});
  CHECK_THROWS_AS(codec::Reader(huge).Text(), StoreError);
  CHECK_THROWS_AS(codec::Reader(huge).Count(), StoreError);
}

TEST_CASE("another format is refused with a sentence") {
  for (const int format : {0, 3, 255}) {
    std::string definition = GoldenDefinitionBytes();
    definition[0] = static_cast<char>(format);
    CHECK_FALSE(DefinitionDecodes(definition));
    std::string state = GoldenStateBytes();
    state[0] = static_cast<char>(format);
    CHECK_FALSE(StateDecodes(state));
  }
  Transaction transaction;
  CHECK_THROWS_WITH(codec::DecodeState(Bytes({3}), transaction),
                    Catch::Matchers::ContainsSubstring("newer version"));
}

TEST_CASE("whatever byte of a definition is damaged or missing, reading it ends well") {
  ExpectNoByteIsBelieved(GoldenDefinitionBytes(), DefinitionDecodes);
}

TEST_CASE("whatever byte of a state is damaged or missing, reading it ends well") {
  ExpectNoByteIsBelieved(GoldenStateBytes(), StateDecodes);
}

TEST_CASE("random bytes are read without harm") {
  std::mt19937 random(3);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes(random() % 64, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    if (!bytes.empty() && round % 2 == 0) bytes[0] = static_cast<char>(1 + round / 2 % 2);
    DefinitionDecodes(bytes);
    StateDecodes(bytes);
  }
}

TEST_CASE("that a branch asked to wait is a bit of its own, of format 2") {
  Transaction transaction, got;
  transaction.branches.resize(1);
  transaction.branches[0].next_try = dtm::Time(dtm::Duration(5));
  CHECK(Encoded(transaction) == Bytes({2, 0, 0, 0, 0, 1, 0x11, 5}));
  transaction.branches[0].asked_when = true;
  CHECK(Encoded(transaction) == Bytes({2, 0, 0, 0, 0, 1, 0x91, 5}));
  codec::DecodeState(Encoded(transaction), got);
  CHECK(got.branches[0].asked_when);
  CHECK_FALSE(StateDecodes(Bytes({1, 0, 0, 0, 0, 1, 0x91, 5})));
}

TEST_CASE("a status or a bit that does not exist is refused") {
  for (const int bits : {0x00, 0x04, 0x40, 0x80, 0xFF}) {
    CHECK_FALSE(StateDecodes(Bytes({2, 0, 0, 0, 0, 1, bits, 1, 1, 1, 1})));
  }
}

TEST_CASE("times before 1970 are stored as none") {
  Transaction transaction;
  transaction.branches.resize(1);
  transaction.branches[0].next_try = dtm::Time(std::chrono::seconds(-5));
  Transaction got;
  codec::DecodeState(Encoded(transaction), got);
  CHECK(got.branches[0].next_try == dtm::Time{});
}
