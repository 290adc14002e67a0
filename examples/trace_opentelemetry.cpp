/// Transactions and their branches as spans of OpenTelemetry.
/// Needs: dtm/dtm.hpp, opentelemetry-cpp (its SDK and the exporter to a stream; tried with 1.29). Threads: on_span is called by
/// one thread; processors of OpenTelemetry take any.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <opentelemetry/exporters/ostream/span_exporter.h>
#include <opentelemetry/sdk/instrumentationscope/instrumentation_scope.h>
#include <opentelemetry/sdk/resource/resource.h>
#include <opentelemetry/sdk/trace/processor.h>
#include <opentelemetry/sdk/trace/recordable.h>
#include <opentelemetry/sdk/trace/simple_processor.h>
#include <opentelemetry/trace/span_context.h>
#include <opentelemetry/trace/trace_state.h>
#include <sstream>
#include <string>
#include <utility>

#include <dtm/dtm.hpp>

namespace {

namespace otel = opentelemetry;

/// For Options::on_span: gives each span, as it is, to a processor. The ids are those that the branches were told, so the
/// processor gets finished spans, and no Tracer makes them.
class ToOpenTelemetry {
 public:
  /// `service`: what the program is called in traces.
  ToOpenTelemetry(std::shared_ptr<otel::sdk::trace::SpanProcessor> processor,
                  const std::string& service)
      : processor_(std::move(processor)),
        resource_(std::make_shared<otel::sdk::resource::Resource>(
            otel::sdk::resource::Resource::Create({{"service.name", service}}))),
        scope_(otel::sdk::instrumentationscope::InstrumentationScope::Create("dtm", dtm::kVersion)
                   .release()) {}

  void operator()(const dtm::Span& span) const {
    if (!span.sampled) return;
    std::unique_ptr<otel::sdk::trace::Recordable> record = processor_->MakeRecordable();
    if (record == nullptr) return;
    using otel::trace::SpanId;
    using otel::trace::TraceId;
    const otel::trace::SpanContext context(
        TraceId(Bytes<TraceId::kSize>(span.trace_id).Span()),
        SpanId(Bytes<SpanId::kSize>(span.span_id).Span()),
        otel::trace::TraceFlags(otel::trace::TraceFlags::kIsSampled), false,
        otel::trace::TraceState::FromHeader(span.trace_state));
    record->SetIdentity(context, SpanId(Bytes<SpanId::kSize>(span.parent_id).Span()));
    record->SetName(span.name);
    const bool attempt = span.name.find(' ') != std::string::npos;
    record->SetSpanKind(attempt ? otel::trace::SpanKind::kClient
                                : otel::trace::SpanKind::kInternal);
    record->SetResource(*resource_);
    record->SetInstrumentationScope(*scope_);
    record->SetStartTime(otel::common::SystemTimestamp(span.begin.time_since_epoch()));
    record->SetDuration(span.end - span.begin);
    record->SetStatus(span.failed ? otel::trace::StatusCode::kError : otel::trace::StatusCode::kOk,
                      span.text);
    for (const auto& [name, value] : span.attributes) record->SetAttribute(name, value.c_str());
    processor_->OnEnd(std::move(record));
  }

 private:
  /// The bytes of hexadecimal digits; of none they are 0.
  template <std::size_t kSize>
  class Bytes {
   public:
    explicit Bytes(const std::string& hex) {
      for (std::size_t i = 0; i < kSize && 2 * i + 1 < hex.size(); ++i) {
        bytes_[i] = static_cast<std::uint8_t>(std::stoi(hex.substr(2 * i, 2), nullptr, 16));
      }
    }
    otel::nostd::span<const std::uint8_t, kSize> Span() const { return bytes_; }

   private:
    std::uint8_t bytes_[kSize] = {};
  };

  std::shared_ptr<otel::sdk::trace::SpanProcessor> processor_;
  std::shared_ptr<const otel::sdk::resource::Resource> resource_;
  std::shared_ptr<const otel::sdk::instrumentationscope::InstrumentationScope> scope_;
};

}  // namespace

int main() {
  // In a program: a BatchSpanProcessor with an OTLP exporter.
  std::ostringstream exported;
  const auto processor = std::make_shared<otel::sdk::trace::SimpleSpanProcessor>(
      std::make_unique<otel::exporter::trace::OStreamSpanExporter>(exported));
  dtm::Options options;
  options.on_span = ToOpenTelemetry(processor, "bank");
  dtm::Coordinator tm("trace_opentelemetry.db", options);
  const auto pay = tm.Register<int>("Pay", [](const int&) {});
  tm.Start();
  // What OpenTelemetry's propagator writes for the span that is active.
  const std::string parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  (void)dtm::NewSaga(tm, tm.NewGid())
      .AddBranchHeader("traceparent", parent)
      .Add(pay, pay, 30)
      .SubmitAndWait(std::chrono::seconds(10));
  if (!tm.Stop(std::chrono::seconds(10))) return 1;
  const std::string text = exported.str();
  std::puts(text.c_str());
  const auto says = [&text](const char* part) { return text.find(part) != std::string::npos; };
  return says("saga action 01") && says("0af7651916cd43dd8448eb211c80319c") &&
                 says("parent_span_id: b7ad6b7169203331") && says("bank")
             ? 0
             : 1;
}
