#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "service/admission.h"
#include "service/probe_board.h"
#include "service/run_registry.h"
#include "service/worker_pool.h"

namespace thermograd::service {
namespace {

using Call = Admission::Call;
using std::chrono::minutes;

void InParallel(int threads, const std::function<void(int)>& work) {
  std::vector<std::thread> running;
  running.reserve(static_cast<size_t>(threads));
  for (int i = 0; i < threads; ++i) running.emplace_back(work, i);
  for (std::thread& thread : running) thread.join();
}

ProbeEntry Entry(std::string run, std::string layer, size_t n = 2) {
  return {.probe_set = "probe",
          .fingerprint = "f",
          .run = std::move(run),
          .layer = std::move(layer),
          .representation = std::make_shared<const metrics::Representation>(
              metrics::Prepare(std::vector<double>(n), n, 1, {}))};
}

TEST(WorkerPool, RunsEverythingThatWasSubmittedBeforeItGoes) {
  std::atomic<int> done{0};
  {
    WorkerPool pool(2);
    InParallel(4, [&](int) {
      for (int i = 0; i < 100; ++i) {
        pool.Submit(i % 2 == 0 ? WorkerPool::Length::kLong : WorkerPool::Length::kShort,
                    [&] { ++done; });
      }
    });
  }
  EXPECT_EQ(done, 400);
}

TEST(WorkerPool, ShortTasksDoNotWaitForLongOnes) {
  WorkerPool pool(2);
  std::promise<void> release;
  const std::shared_future<void> released = release.get_future().share();
  std::atomic<int> running{0};
  // More than may run at a time.
  for (int i = 0; i < 5; ++i) {
    pool.Submit(WorkerPool::Length::kLong, [&running, released] {
      ++running;
      released.wait();
    });
  }
  for (int i = 0; i < 3; ++i) {
    std::promise<void> done;
    pool.Submit(WorkerPool::Length::kShort, [&done] { done.set_value(); });
    EXPECT_EQ(done.get_future().wait_for(std::chrono::seconds(30)), std::future_status::ready);
  }
  EXPECT_LE(running, 2);
  release.set_value();
}

TEST(Admission, NeverExceedsItsBudgets) {
  Admission admission(3, 100);
  InParallel(4, [&](int) {
    for (int i = 0; i < 1000; ++i) {
      Reservation memory(&admission);
      if (memory.Take(60)) {
        EXPECT_LE(admission.bytes(), 100u);
      }
      if (!admission.Enter(Call::kStream)) {
        EXPECT_LE(admission.open(Call::kStream), 3u);
        admission.Leave(Call::kStream);
      }
    }
  });
  EXPECT_EQ(admission.bytes(), 0u);
  EXPECT_EQ(admission.open(Call::kStream), 0u);
  EXPECT_FALSE(admission.TakeBytes(101));
  EXPECT_TRUE(admission.TakeBytes(100));
  EXPECT_FALSE(admission.TakeBytes(UINT64_MAX));
}

TEST(Admission, AboveTheSoftLimitOnlyWhatIsOpenGoesOn) {
  Limits limits;
  limits.max_memory_bytes = 100;
  Admission admission(limits, 0.8);
  ASSERT_TRUE(admission.TakeBytes(80));
  EXPECT_FALSE(admission.above_soft_limit());
  EXPECT_FALSE(admission.Enter(Call::kStream));
  EXPECT_FALSE(admission.Enter(Call::kComparison));
  EXPECT_FALSE(admission.TakeSpareBytes(1));
  ASSERT_TRUE(admission.TakeBytes(1));
  EXPECT_TRUE(admission.above_soft_limit());
  for (const Call call : {Call::kStream, Call::kComparison}) {
    EXPECT_EQ(admission.Enter(call), (LimitValue{Limit::max_memory_bytes, 100}));
  }
  EXPECT_TRUE(admission.TakeBytes(19));
  EXPECT_FALSE(admission.TakeBytes(1));
  admission.ReturnBytes(20);
  EXPECT_FALSE(admission.Enter(Call::kStream));
  EXPECT_EQ(admission.open(Call::kStream), 2u);
}

TEST(Admission, ResidentMemoryIsALimitOfItsOwn) {
  constexpr uint64_t kMebibyte = 1 << 20;
  constexpr LimitValue kLimit{Limit::max_resident_bytes, 10 * kMebibyte};
  Limits limits;
  limits.max_resident_bytes = 10 * kMebibyte;
  Admission admission(limits, 0.8);
  ASSERT_FALSE(admission.Enter(Call::kStream));
  admission.LendVector(5);
  EXPECT_FALSE(admission.SetResidentBytes(8 * kMebibyte));
  EXPECT_EQ(admission.idle_bytes(), 40u);
  EXPECT_TRUE(admission.SetResidentBytes(8 * kMebibyte + 1));
  EXPECT_EQ(admission.idle_bytes(), 0u);
  admission.LendVector(5);
  EXPECT_EQ(admission.idle_bytes(), 0u);
  EXPECT_TRUE(admission.above_soft_limit());
  EXPECT_EQ(admission.Enter(Call::kStream), kLimit);
  EXPECT_FALSE(admission.TakeSpareBytes(1));
  EXPECT_TRUE(admission.TakeBytes(kMebibyte));
  // What has been taken since is added to what was seen.
  EXPECT_EQ(admission.memory_limit(kMebibyte), kLimit);
  EXPECT_FALSE(admission.TakeBytes(kMebibyte));
  EXPECT_TRUE(admission.TakeBytes(1000));
  EXPECT_FALSE(admission.SetResidentBytes(8 * kMebibyte));
  EXPECT_FALSE(admission.Enter(Call::kStream));
  EXPECT_TRUE(admission.TakeBytes(kMebibyte));
  EXPECT_EQ(admission.memory_limit(kMebibyte).first, Limit::max_memory_bytes);
}

TEST(Admission, LendsTheSameMemoryAgain) {
  Admission admission(3, 100);
  ASSERT_FALSE(admission.Enter(Call::kStream));
  const double* first = admission.LendVector(5).get();
  EXPECT_EQ(admission.idle_bytes(), 40u);
  EXPECT_EQ(admission.bytes(), 0u);
  const statistics::VectorMemory other = admission.LendVector(4);
  EXPECT_EQ(admission.idle_bytes(), 40u);
  EXPECT_EQ(admission.LendVector(5).get(), first);
}

TEST(Admission, IdleMemoryMakesWayAndGoesWithTheStreams) {
  Admission admission(3, 100);
  ASSERT_FALSE(admission.Enter(Call::kStream));
  admission.LendVector(5);
  admission.LendVector(6);
  EXPECT_EQ(admission.idle_bytes(), 88u);
  admission.LendVector(2);  // one vector too many
  EXPECT_EQ(admission.idle_bytes(), 88u);
  EXPECT_TRUE(admission.TakeBytes(50));
  EXPECT_EQ(admission.idle_bytes(), 48u);
  EXPECT_TRUE(admission.TakeBytes(50));
  EXPECT_EQ(admission.idle_bytes(), 0u);
  admission.ReturnBytes(100);
  admission.LendVector(5);
  statistics::VectorMemory late = admission.LendVector(6);
  admission.Leave(Call::kStream);
  EXPECT_EQ(admission.idle_bytes(), 0u);
  late.reset();
  EXPECT_EQ(admission.idle_bytes(), 0u);
}

TEST(RunRegistry, ANewerStreamTakesOverTheRun) {
  Admission admission(3, 1 << 20);
  RunRegistry registry{minutes(15), 4, &admission};
  int told = 0;
  const uint64_t first = registry.Open({"a"}, 0, 1, [&] { ++told; });
  const uint64_t second = registry.Open({"a"}, 0, 1, [] {});
  EXPECT_EQ(told, 1);
  registry.Publish(first, 5, std::make_shared<const metrics::Figures>(), nullptr, {}, 0);
  registry.Close(first);
  ASSERT_EQ(registry.List().size(), 1u);
  EXPECT_TRUE(registry.List()[0].live);
  EXPECT_EQ(registry.List()[0].steps, 0u);
  registry.Publish(second, 6, std::make_shared<const metrics::Figures>(), nullptr, {}, 0);
  EXPECT_EQ(registry.List()[0].last_step, 6u);
}

TEST(RunRegistry, EndedRunsLeaveAfterTheGracePeriod) {
  Admission admission(3, 1 << 20);
  RunRegistry registry{minutes(15), 4, &admission};
  registry.Close(registry.Open({"a"}, 0, 1, [] {}));
  const auto now = RunRegistry::Clock::now();
  EXPECT_EQ(registry.List(now + minutes(14)).size(), 1u);
  EXPECT_EQ(registry.List(now + minutes(16)).size(), 0u);
}

TEST(RunRegistry, TenantsDoNotMeet) {
  Admission admission(3, 1 << 20);
  RunRegistry registry{minutes(15), 4, &admission};
  int told = 0;
  int asked = 0;
  const RunId mine{"run", "a"};
  registry.Open(
      mine, 0, 1, [&] { ++told; }, [&](const Cadence&) { ++asked; });
  registry.Open(
      {"run", "b"}, 0, 1, [] {}, [](const Cadence&) {});
  EXPECT_EQ(told, 0);
  EXPECT_EQ(registry.Ask(mine, {}), 1u);
  EXPECT_EQ(registry.Ask({"run", "c"}, {}), 0u);
  EXPECT_EQ(registry.Ask({"run"}, {}), 0u);
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(registry.List().size(), 2u);
}

TEST(RunRegistry, EndedRunsMakeWayForNewerOnes) {
  Admission admission(3, 1 << 20);
  RunRegistry registry{minutes(15), 3, &admission};
  const uint64_t live = registry.Open({"a"}, 0, 1, [] {});
  registry.Close(registry.Open({"b"}, 0, 1, [] {}));
  registry.Close(registry.Open({"c"}, 0, 1, [] {}));
  EXPECT_NE(registry.Open({"d"}, 0, 1, [] {}), 0u);
  EXPECT_EQ(registry.dropped(), 1u);
  std::vector<std::string> names;
  for (const RunSnapshot& run : registry.List()) names.push_back(run.run.name);
  EXPECT_EQ(names, (std::vector<std::string>{"a", "c", "d"}));
  EXPECT_NE(registry.Open({"e"}, 0, 1, [] {}), 0u);
  EXPECT_EQ(registry.Open({"f"}, 0, 1, [] {}), 0u);  // all are live
  EXPECT_NE(registry.Open({"d"}, 0, 1, [] {}), 0u);  // in its own place
  registry.Close(live);
  EXPECT_NE(registry.Open({"f"}, 0, 1, [] {}), 0u);
  EXPECT_EQ(registry.dropped(), 3u);
  EXPECT_EQ(registry.runs(), 3u);
}

TEST(RunRegistry, FiguresTakeMemoryWhileTheyAreShown) {
  Admission admission(3, 300);
  RunRegistry registry{minutes(15), 4, &admission};
  const auto figures = [](size_t count) {
    return std::make_shared<const metrics::Figures>(count, metrics::Figure{"name", {}, 1.0});
  };
  const uint64_t stream = registry.Open({"a"}, 0, 1, [] {});
  EXPECT_TRUE(registry.Publish(stream, 1, figures(1), figures(1), {}, 0));
  const uint64_t bytes = admission.bytes();
  EXPECT_GE(bytes, 2 * sizeof(metrics::Figure));
  EXPECT_TRUE(registry.Publish(stream, 2, figures(1), figures(1), {}, 0));
  EXPECT_EQ(admission.bytes(), bytes);
  EXPECT_FALSE(registry.Publish(stream, 3, figures(100), figures(1), {}, 0));
  EXPECT_EQ(admission.bytes(), 0u);
  EXPECT_EQ(registry.List()[0].figures, nullptr);
  EXPECT_EQ(registry.List()[0].last_step, 3u);
  EXPECT_TRUE(registry.Publish(stream, 4, figures(1), figures(1), {}, 0));
  EXPECT_NE(registry.List()[0].figures, nullptr);
  registry.Close(stream);
  EXPECT_EQ(admission.bytes(), bytes);
  registry.List(RunRegistry::Clock::now() + minutes(16));
  EXPECT_EQ(admission.bytes(), 0u);
}

TEST(RunRegistry, EndedRunsGoThoughNobodyLists) {
  Admission admission(3, 1 << 20);
  RunRegistry registry{minutes(15), 4, &admission};
  registry.Open({"live"}, 0, 1, [] {});
  registry.Close(registry.Open({"ended"}, 0, 1, [] {}));
  registry.Expire();
  EXPECT_EQ(registry.runs(), 2u);
  registry.Expire(RunRegistry::Clock::now() + minutes(16));
  EXPECT_EQ(registry.runs(), 1u);
  EXPECT_EQ(registry.dropped(), 0u);
}

TEST(RunRegistry, ServesManyThreads) {
  Admission admission(3, 1 << 20);
  RunRegistry registry{minutes(15), 4, &admission};
  InParallel(4, [&](int i) {
    const std::string run(1, static_cast<char>('a' + i % 2));
    for (uint64_t step = 0; step < 300; ++step) {
      const uint64_t stream = registry.Open({run}, 0, 1, [] {});
      registry.Publish(stream, step, std::make_shared<const metrics::Figures>(), nullptr,
                       {{"w", {1, 0}}}, 0);
      registry.List();
      registry.Close(stream);
    }
  });
  EXPECT_EQ(registry.List().size(), 2u);
}

TEST(ProbeBoard, ShowsOtherRunsOnly) {
  Admission admission(3, 1 << 20);
  ProbeBoard board(1 << 20, minutes(10), &admission);
  board.Put(Entry("a", "h1"));
  board.Put(Entry("b", "h1"));
  board.Put(Entry("b", "h1"));
  const auto others = board.Others("probe", {"a"});
  ASSERT_EQ(others.size(), 1u);
  EXPECT_EQ(others[0].run, RunId{"b"});
  EXPECT_TRUE(board.Others("another", {"a"}).empty());
}

TEST(ProbeBoard, ShowsNothingOfOtherTenants) {
  Admission admission(3, 1 << 20);
  ProbeBoard board(1 << 20, minutes(10), &admission);
  ProbeEntry entry = Entry("a", "h1");
  entry.run.tenant = "tenant";
  board.Put(entry);
  board.Put(Entry("a", "h1"));
  EXPECT_EQ(board.Others("probe", {"b", "tenant"}).size(), 1u);
  EXPECT_EQ(board.Others("probe", {"b"}).size(), 1u);
  EXPECT_TRUE(board.Others("probe", {"b", "another"}).empty());
  EXPECT_TRUE(board.Others("probe", {"a", "tenant"}).empty());
}

TEST(ProbeBoard, ForgetsByAgeAndByBytes) {
  constexpr uint64_t kEntry = 4 * sizeof(double);
  const auto now = ProbeBoard::Clock::now();
  Admission admission(3, 1 << 20);
  ProbeBoard board(2 * kEntry, minutes(10), &admission);
  board.Put(Entry("a", "h1"), now);
  board.Put(Entry("a", "h2"), now + minutes(1));
  EXPECT_EQ(board.evicted(), 0u);
  board.Put(Entry("a", "h3"), now + minutes(2));
  EXPECT_EQ(board.evicted(), 1u);
  EXPECT_EQ(board.bytes(), 2 * kEntry);
  EXPECT_EQ(board.Others("probe", {"b"}, now + minutes(11)).size(), 2u);
  EXPECT_EQ(board.Others("probe", {"b"}, now + minutes(12)).size(), 1u);
  board.Put(Entry("a", "huge", 100), now + minutes(12));
  EXPECT_EQ(board.bytes(), 0u);
}

TEST(ProbeBoard, ForgetsThoughNobodyAsks) {
  const auto now = ProbeBoard::Clock::now();
  Admission admission(3, 1 << 20);
  ProbeBoard board(1 << 20, minutes(10), &admission);
  board.Put(Entry("a", "h1"), now);
  board.Put(Entry("a", "h2"), now + minutes(1));
  board.Shed(now + minutes(10));
  EXPECT_EQ(board.bytes(), 2 * 4 * sizeof(double));
  board.Shed(now + minutes(11));
  EXPECT_EQ(board.bytes(), 4 * sizeof(double));
  board.Shed(now + minutes(12));
  EXPECT_EQ(admission.bytes(), 0u);
  EXPECT_EQ(board.evicted(), 0u);
}

TEST(ProbeBoard, GivesWayAboveTheSoftLimit) {
  constexpr uint64_t kEntry = 4 * sizeof(double);
  Limits limits;
  limits.max_memory_bytes = 10 * kEntry;
  Admission admission(limits, 0.5);
  ProbeBoard board(1 << 20, minutes(10), &admission);
  for (const char* layer : {"h1", "h2", "h3"}) board.Put(Entry("a", layer));
  EXPECT_EQ(admission.bytes(), 3 * kEntry);
  ASSERT_TRUE(admission.TakeBytes(2 * kEntry));
  board.Shed();
  EXPECT_EQ(board.evicted(), 0u);
  board.Put(Entry("a", "h4"));
  EXPECT_EQ(board.evicted(), 1u);
  EXPECT_EQ(board.bytes(), 3 * kEntry);
  ASSERT_TRUE(admission.TakeBytes(kEntry));
  board.Shed();
  EXPECT_EQ(board.evicted(), 2u);
  EXPECT_EQ(admission.bytes(), 5 * kEntry);
  ASSERT_TRUE(admission.TakeBytes(3 * kEntry));
  board.Put(Entry("a", "h5"));
  EXPECT_EQ(board.bytes(), 0u);
  EXPECT_EQ(board.evicted(), 5u);
}

TEST(ProbeBoard, ServesManyThreads) {
  Admission admission(3, 1 << 20);
  ProbeBoard board(100 * sizeof(double), minutes(10), &admission);
  InParallel(4, [&](int i) {
    for (int n = 0; n < 300; ++n) {
      board.Put(Entry(std::to_string(i), std::to_string(n % 7), 3));
      for (const ProbeEntry& entry : board.Others("probe", {std::to_string(i)})) {
        EXPECT_EQ(entry.representation->linear.gram.values.size(), 9u);
      }
    }
  });
  EXPECT_LE(board.bytes(), 100 * sizeof(double));
}

}  // namespace
}  // namespace thermograd::service
