/// The first line and the headers of a message: its bytes as they came, and where in them each part is.
/// Needs: std. Threads: values only. Source: RFC 9112 §2 to §6.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <dtm/http/http1/framing.hpp>

namespace dtm {
inline namespace v1 {
namespace http1 {

/// Filled by HeadParser; the views live as long as it is not changed.
class MessageHead {
 public:
  struct Header {
    std::string_view name;
    std::string_view value;
  };

  std::string_view Method() const { return View(method_); }
  std::string_view Target() const { return View(target_); }
  int Status() const { return status_; }
  int MinorVersion() const { return minor_; }  ///< 1 of HTTP/1.1
  const Framing& BodyFraming() const { return framing_; }

  std::size_t Count() const { return headers_.size(); }
  Header At(std::size_t i) const { return {View(headers_[i].name), View(headers_[i].value)}; }

  /// The value of the first header of this name, which is given in lower case; empty if there is none.
  std::string_view Find(std::string_view lower) const {
    for (const Place& header : headers_) {
      if (EqualsLower(View(header.name), lower)) return View(header.value);
    }
    return {};
  }

  std::size_t Bytes() const { return text_.size(); }

 private:
  friend class HeadParser;
  struct Part {
    std::uint32_t at = 0;
    std::uint32_t size = 0;
  };
  struct Place {
    Part name;
    Part value;
  };

  std::string_view View(Part part) const {
    return std::string_view(text_).substr(part.at, part.size);
  }

  std::string text_;
  std::vector<Place> headers_;
  Part method_;
  Part target_;
  int status_ = 0;
  int minor_ = 1;
  Framing framing_;
};

}  // namespace http1
}  // namespace v1
}  // namespace dtm
