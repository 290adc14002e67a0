/// Generated from desk/desk.html by tools/embed_desk.py; do not edit. The files of the desk's page.
/// Needs: std. Threads: constants.
#pragma once

#include <string_view>

namespace dtm {
inline namespace v1 {
namespace desk {

// clang-format off
inline constexpr std::string_view kPage =
R"desk(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>dtm desk</title>
<link rel="icon" type="image/svg+xml" href="desk/icon.svg">
<link rel="stylesheet" href="desk/desk.css">
</head>
<body>
<h1>dtm desk</h1>
<p id="version"></p>
<script src="desk/desk.js" defer></script>
</body>
</html>
)desk";

inline constexpr std::string_view kStyle =
R"desk(body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; }
)desk";

inline constexpr std::string_view kScript =
R"desk('use strict';
fetch('api/dtmsvr/version').then(reply => reply.json()).then(told => {
  document.getElementById('version').textContent = told.version ?? told.message;
});
)desk";

inline constexpr std::string_view kIcon =
R"desk(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="4" fill="#2f6fed"/><path d="M4 5h6M6 8h6M4 11h8" stroke="#fff" stroke-width="1.6" stroke-linecap="round"/></svg>
)desk";

// clang-format on

}  // namespace desk
}  // namespace v1
}  // namespace dtm
