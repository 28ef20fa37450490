#include "export/run_collector.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>

#include "kernels/level.h"
#include "metrics/catalogue.h"

namespace thermograd::exporter {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr const char* kRejections[] = {
    "invalid_argument", "resource_exhausted", "deadline_exceeded", "unimplemented",
    "superseded",       "draining",           "not_found",         "unauthenticated"};
static_assert(std::size(kRejections) == static_cast<size_t>(service::Rejection::kCount));

constexpr const char* kUndefined[] = {"too_few_microbatches",
                                      "too_few_samples",
                                      "zero_denominator",
                                      "non_finite_input",
                                      "missing_tensor",
                                      "no_earlier_step",
                                      "optimizer_not_covered",
                                      "different_samples",
                                      "limit",
                                      "overflow",
                                      "incomplete_shards",
                                      "no_weight_decay",
                                      "not_converged",
                                      "different_options"};
static_assert(std::size(kUndefined) == metrics::kUndefinedReasons);

class Family {
 public:
  Family(std::string name, std::string help, MetricType type) {
    family_.name = std::move(name);
    family_.help = std::move(help);
    family_.type = type;
  }

  Family& Add(double value, std::vector<metrics::Label> labels = {}) {
    ClientMetric metric;
    for (metrics::Label& label : labels) {
      metric.label.push_back({std::move(label.first), std::move(label.second)});
    }
    if (family_.type == MetricType::Counter) {
      metric.counter.value = value;
    } else {
      metric.gauge.value = value;
    }
    family_.metric.push_back(std::move(metric));
    return *this;
  }

  size_t size() const { return family_.metric.size(); }
  MetricFamily Take() { return std::move(family_); }

 private:
  MetricFamily family_;
};

// What all ranks of a run share.
std::vector<metrics::Label> LabelsOf(const service::RunId& run) {
  std::vector<metrics::Label> labels = {{"run", run.name}};
  if (!run.tenant.empty()) labels.emplace_back("tenant", run.tenant);
  return labels;
}

std::vector<metrics::Label> RunLabels(const service::RunSnapshot& run) {
  std::vector<metrics::Label> labels = LabelsOf(run.run);
  if (run.world_size > 1) labels.emplace_back("rank", std::to_string(run.rank));
  return labels;
}

// Admits series of runs up to a limit.
class SeriesBudget {
 public:
  explicit SeriesBudget(uint64_t most) : most_(most) {}

  bool Take() {
    if (used_ == most_) {
      ++refused_;
      return false;
    }
    ++used_;
    return true;
  }

  uint64_t used() const { return used_; }
  uint64_t refused() const { return refused_; }

 private:
  const uint64_t most_;
  uint64_t used_ = 0;
  uint64_t refused_ = 0;
};

using service::Limit;

// How much of each limit is used now, where that is known: by the service, or by the live stream
// that uses most.
std::map<Limit, uint64_t> LimitUses(const service::Environment& environment,
                                    const std::vector<service::RunSnapshot>& runs,
                                    const SeriesBudget& series) {
  using Call = service::Admission::Call;
  std::map<Limit, uint64_t> uses = {
      {Limit::max_streams, environment.admission->open(Call::kStream)},
      {Limit::max_comparisons, environment.admission->open(Call::kComparison)},
      {Limit::max_runs, environment.runs->runs()},
      {Limit::max_series, series.used()},
      {Limit::max_memory_bytes, environment.admission->bytes()},
      {Limit::max_resident_bytes, environment.admission->resident_bytes()},
      {Limit::max_probe_bytes, environment.probes->bytes()},
      {Limit::max_stream_bytes, 0}};
  for (const service::RunSnapshot& run : runs) {
    if (!run.live) continue;
    uses[Limit::max_stream_bytes] = std::max(uses[Limit::max_stream_bytes], run.memory_bytes);
    for (const auto& [limit, use] : run.limit_uses) uses[limit] = std::max(uses[limit], use);
  }
  return uses;
}

}  // namespace

std::vector<MetricFamily> RunCollector::Collect() const {
  const std::vector<service::RunSnapshot> runs = environment_.runs->List();
  std::vector<MetricFamily> families;

  std::vector<Family> catalogue;
  std::unordered_map<std::string_view, size_t> index;
  for (const metrics::Definition& definition : metrics::Catalogue()) {
    index.emplace(definition.name, catalogue.size());
    catalogue.emplace_back(definition.name, definition.help, MetricType::Gauge);
  }
  SeriesBudget series(environment_.limits.max_series);
  // What tells that a run is there comes before its figures.
  Family last_step("thermograd_last_step", "Number of the latest complete step.",
                   MetricType::Gauge);
  Family last_step_time("thermograd_last_step_timestamp_seconds",
                        "Unix time at which the latest step was complete.", MetricType::Gauge);
  Family steps("thermograd_run_steps_total", "Steps completed on the run's present stream.",
               MetricType::Counter);
  Family live("thermograd_run_live", "1 while the run's stream is open, 0 in its grace period.",
              MetricType::Gauge);
  Family memory("thermograd_run_memory_bytes",
                "Memory of the stream's windows and of its latest step when it ended.",
                MetricType::Gauge);
  Family non_finite("thermograd_parameter_non_finite_elements_total",
                    "NaN and infinite elements received, by parameter or layer.",
                    MetricType::Counter);
  for (const service::RunSnapshot& run : runs) {
    const std::vector<metrics::Label> labels = RunLabels(run);
    const auto add = [&](Family* family, double value, const std::vector<metrics::Label>& all) {
      if (series.Take()) family->Add(value, all);
    };
    add(&live, run.live ? 1 : 0, labels);
    add(&memory, static_cast<double>(run.memory_bytes), labels);
    if (run.steps > 0) {
      add(&last_step, static_cast<double>(run.last_step), labels);
      add(&last_step_time,
          std::chrono::duration<double>(run.last_step_time.time_since_epoch()).count(), labels);
    }
    add(&steps, static_cast<double>(run.steps), labels);
    for (const auto& [name, counts] : run.non_finite) {
      for (const auto& [kind, count] :
           {std::pair{"nan", counts.nans}, std::pair{"inf", counts.infinities}}) {
        std::vector<metrics::Label> all = labels;
        all.emplace_back("parameter", name);
        all.emplace_back("class", kind);
        add(&non_finite, static_cast<double>(count), all);
      }
    }
  }
  const auto add_figures = [&](const metrics::Figures& figures,
                               const std::vector<metrics::Label>& run_labels) {
    for (const metrics::Figure& figure : figures) {
      const double* value = std::get_if<double>(&figure.result);
      if (value == nullptr) continue;
      if (!series.Take()) continue;
      std::vector<metrics::Label> labels = run_labels;
      labels.insert(labels.end(), figure.labels.begin(), figure.labels.end());
      catalogue[index.at(figure.name)].Add(*value, std::move(labels));
    }
  };
  // What all ranks of a run make together is shown once, as the rank ahead of the others has it.
  std::map<service::RunId, const service::RunSnapshot*> latest;
  for (const service::RunSnapshot& run : runs) {
    if (run.figures == nullptr) continue;
    add_figures(*run.figures, RunLabels(run));
    const service::RunSnapshot*& ahead = latest[run.run];
    if (ahead == nullptr || run.last_step > ahead->last_step) ahead = &run;
  }
  for (const auto& [id, run] : latest) add_figures(*run->run_figures, LabelsOf(id));
  for (Family& family : catalogue) {
    if (family.size() > 0) families.push_back(family.Take());
  }

  for (Family* family : {&last_step, &last_step_time, &steps, &live, &memory, &non_finite}) {
    if (family->size() > 0) families.push_back(family->Take());
  }

  const service::ServiceCounters& counters = *environment_.counters;
  const auto add = [&](const char* name, const char* help, MetricType type, double value) {
    families.push_back(Family(name, help, type).Add(value).Take());
  };
  const auto count = [&](const char* name, const char* help, uint64_t value) {
    add(name, help, MetricType::Counter, static_cast<double>(value));
  };
  const auto gauge = [&](const char* name, const char* help, uint64_t value) {
    add(name, help, MetricType::Gauge, static_cast<double>(value));
  };
  count("thermograd_received_bytes_total", "Bytes of messages received.", counters.received_bytes);
  count("thermograd_chunks_total", "Tensor chunks received.", counters.chunks);
  count("thermograd_steps_total", "Steps analysed.", counters.steps);
  count("thermograd_incomplete_steps_total", "Steps that were open when their stream ended.",
        counters.incomplete_steps);
  count("thermograd_incomplete_rank_steps_total",
        "Steps given up because not all ranks of the run ended them.",
        counters.incomplete_rank_steps);
  count("thermograd_streams_total", "Streams opened.", counters.streams);
  count("thermograd_comparisons_total", "CompareRepresentations calls.", counters.comparisons);
  count("thermograd_responses_dropped_total",
        "Reports dropped because the client did not read them.", counters.reports_dropped);
  count("thermograd_probe_entries_evicted_total",
        "Representations dropped from the probe board for want of memory.",
        environment_.probes->evicted());
  count(
      "thermograd_tls_reload_failures_total",
      "Times that a changed TLS certificate, key or client CA could not be used; those before stay "
      "in use.",
      counters.tls_reload_failures);
  count("thermograd_token_reload_failures_total",
        "Times that a changed token file could not be used; the tokens before stay in use.",
        counters.token_reload_failures);
  count(
      "thermograd_http_credentials_reload_failures_total",
      "Times that a changed file of HTTP credentials could not be used; those before stay in use.",
      counters.http_credentials_reload_failures);
  if (const int64_t expiry = counters.tls_certificate_expiry; expiry != 0) {
    add("thermograd_tls_certificate_expiry_timestamp_seconds",
        "When the TLS certificate in use, or one of its chain, expires first.", MetricType::Gauge,
        static_cast<double>(expiry));
  }
  add("thermograd_analysis_seconds_total", "Seconds spent in closing steps.", MetricType::Counter,
      static_cast<double>(counters.analysis_nanoseconds) * 1e-9);
  Family rejected("thermograd_rejected_total", "Streams and calls ended by the service, by reason.",
                  MetricType::Counter);
  for (size_t i = 0; i < counters.rejected.size(); ++i) {
    rejected.Add(static_cast<double>(counters.rejected[i]), {{"reason", kRejections[i]}});
  }
  families.push_back(rejected.Take());
  Family undefined("thermograd_undefined_total", "Figures withheld, by reason.",
                   MetricType::Counter);
  for (size_t i = 0; i < counters.undefined.size(); ++i) {
    undefined.Add(static_cast<double>(counters.undefined[i]), {{"reason", kUndefined[i]}});
  }
  families.push_back(undefined.Take());
  gauge("thermograd_streams", "Open streams.",
        environment_.admission->open(service::Admission::Call::kStream));
  gauge("thermograd_step_memory_bytes",
        "Memory taken by streams, comparisons, figures and the probe board.",
        environment_.admission->bytes());
  gauge("thermograd_probe_memory_bytes", "Memory taken by the probe board.",
        environment_.probes->bytes());
  gauge("thermograd_series", "Series of runs in this scrape.", series.used());
  gauge("thermograd_series_limit", "Ceiling of the series of all runs.",
        environment_.limits.max_series);
  gauge("thermograd_series_refused", "Series beyond the ceiling, missing from this scrape.",
        series.refused());
  count("thermograd_runs_dropped_total", "Ended runs that made way for newer ones in their grace.",
        environment_.runs->dropped());
  CountRefusal(Limit::max_series, environment_.counters, series.refused());
  Family limits("thermograd_limit", "Value of each limit, by the flag that sets it; 0: none.",
                MetricType::Gauge);
  Family used("thermograd_limit_used",
              "How much of a limit is used: by the service, or by the live stream that uses most.",
              MetricType::Gauge);
  Family refusals("thermograd_limit_refusals_total",
                  "What was refused or left out because of a limit; of max_series, each series at "
                  "each scrape.",
                  MetricType::Counter);
  const std::array<uint64_t, service::kLimits> values = ValuesOf(environment_.limits);
  for (size_t i = 0; i < values.size(); ++i) {
    const std::vector<metrics::Label> labels = {{"limit", service::kLimitNames[i]}};
    limits.Add(static_cast<double>(values[i]), labels);
    refusals.Add(static_cast<double>(counters.refusals[i]), labels);
  }
  for (const auto& [limit, use] : LimitUses(environment_, runs, series)) {
    used.Add(static_cast<double>(use),
             {{"limit", service::kLimitNames[static_cast<size_t>(limit)]}});
  }
  for (Family* family : {&limits, &used, &refusals}) families.push_back(family->Take());
  families.push_back(Family("thermograd_build_info",
                            "1; the labels tell the version and the instruction set in use.",
                            MetricType::Gauge)
                         .Add(1, {{"simd", kernels::SimdLevel()}, {"version", THERMOGRAD_VERSION}})
                         .Take());
  return families;
}

}  // namespace thermograd::exporter
