/// Adds HTTP to <dtm/dtm.hpp>: branches by URL.
/// Needs: cpp-httplib. Threads: see the headers.
#pragma once

#include <dtm/dtm.hpp>
#include <dtm/http/branches.hpp>
#include <dtm/http/call_queue.hpp>
#include <dtm/http/connection.hpp>
#include <dtm/http/guarded_client.hpp>
#include <dtm/http/host_limits.hpp>
#include <dtm/http/reply_rule.hpp>
#include <dtm/http/url.hpp>
#include <dtm/http/wire.hpp>
