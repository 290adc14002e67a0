/// Adds HTTP to <dtm/dtm.hpp>: branches by URL, the API server, coordinators elsewhere.
/// Needs: cpp-httplib. Threads: see the headers.
#pragma once

#include <dtm/dtm.hpp>
#include <dtm/http/access.hpp>
#include <dtm/http/api.hpp>
#include <dtm/http/api_lists.hpp>
#include <dtm/http/api_message.hpp>
#include <dtm/http/base64.hpp>
#include <dtm/http/bounded_stream.hpp>
#include <dtm/http/branch_answer.hpp>
#include <dtm/http/branch_service.hpp>
#include <dtm/http/branches.hpp>
#include <dtm/http/call_queue.hpp>
#include <dtm/http/connection.hpp>
#include <dtm/http/direct_call.hpp>
#include <dtm/http/exchange.hpp>
#include <dtm/http/guarded_client.hpp>
#include <dtm/http/guarded_server.hpp>
#include <dtm/http/host_limits.hpp>
#include <dtm/http/json_input.hpp>
#include <dtm/http/json_rpc.hpp>
#include <dtm/http/json_rpc_api.hpp>
#include <dtm/http/metrics_text.hpp>
#include <dtm/http/refusals.hpp>
#include <dtm/http/remote_coordinator.hpp>
#include <dtm/http/remote_requests.hpp>
#include <dtm/http/reply_rule.hpp>
#include <dtm/http/request_guard.hpp>
#include <dtm/http/server.hpp>
#include <dtm/http/server_stream.hpp>
#include <dtm/http/thread_pool.hpp>
#include <dtm/http/url.hpp>
#include <dtm/http/wire.hpp>
#include <dtm/http/wire_query.hpp>
#include <dtm/http/wire_registration.hpp>
#include <dtm/http/wire_transaction.hpp>
