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

using std::chrono::minutes;

void InParallel(int threads, const std::function<void(int)>& work) {
  std::vector<std::thread> running;
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
      if (admission.TakeStream()) {
        EXPECT_LE(admission.streams(), 3u);
        admission.ReturnStream();
      }
    }
  });
  EXPECT_EQ(admission.bytes(), 0u);
  EXPECT_EQ(admission.streams(), 0u);
  EXPECT_FALSE(admission.TakeBytes(101));
  EXPECT_TRUE(admission.TakeBytes(100));
  EXPECT_FALSE(admission.TakeBytes(UINT64_MAX));
}

TEST(Admission, LendsTheSameMemoryAgain) {
  Admission admission(3, 100);
  ASSERT_TRUE(admission.TakeStream());
  const double* first = admission.LendVector(5).get();
  EXPECT_EQ(admission.idle_bytes(), 40u);
  EXPECT_EQ(admission.bytes(), 0u);
  const statistics::VectorMemory other = admission.LendVector(4);
  EXPECT_EQ(admission.idle_bytes(), 40u);
  EXPECT_EQ(admission.LendVector(5).get(), first);
}

TEST(Admission, IdleMemoryMakesWayAndGoesWithTheStreams) {
  Admission admission(3, 100);
  ASSERT_TRUE(admission.TakeStream());
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
  admission.ReturnStream();
  EXPECT_EQ(admission.idle_bytes(), 0u);
  late.reset();
  EXPECT_EQ(admission.idle_bytes(), 0u);
}

TEST(RunRegistry, ANewerStreamTakesOverTheRun) {
  RunRegistry registry{minutes(15)};
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
  RunRegistry registry{minutes(15)};
  registry.Close(registry.Open({"a"}, 0, 1, [] {}));
  const auto now = RunRegistry::Clock::now();
  EXPECT_EQ(registry.List(now + minutes(14)).size(), 1u);
  EXPECT_EQ(registry.List(now + minutes(16)).size(), 0u);
}

TEST(RunRegistry, TenantsDoNotMeet) {
  RunRegistry registry{minutes(15)};
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

TEST(RunRegistry, ServesManyThreads) {
  RunRegistry registry{minutes(15)};
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
  ProbeBoard board(1 << 20, minutes(10));
  board.Put(Entry("a", "h1"));
  board.Put(Entry("b", "h1"));
  board.Put(Entry("b", "h1"));
  const auto others = board.Others("probe", {"a"});
  ASSERT_EQ(others.size(), 1u);
  EXPECT_EQ(others[0].run, RunId{"b"});
  EXPECT_TRUE(board.Others("another", {"a"}).empty());
}

TEST(ProbeBoard, ShowsNothingOfOtherTenants) {
  ProbeBoard board(1 << 20, minutes(10));
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
  const auto now = ProbeBoard::Clock::now();
  ProbeBoard board(2 * 4 * sizeof(double), minutes(10));
  board.Put(Entry("a", "h1"), now);
  board.Put(Entry("a", "h2"), now + minutes(1));
  EXPECT_EQ(board.evicted(), 0u);
  board.Put(Entry("a", "h3"), now + minutes(2));
  EXPECT_EQ(board.evicted(), 1u);
  EXPECT_EQ(board.bytes(), 2 * 4 * sizeof(double));
  EXPECT_EQ(board.Others("probe", {"b"}, now + minutes(11)).size(), 2u);
  EXPECT_EQ(board.Others("probe", {"b"}, now + minutes(12)).size(), 1u);
  board.Put(Entry("a", "huge", 100), now + minutes(12));
  EXPECT_EQ(board.bytes(), 0u);
}

TEST(ProbeBoard, ServesManyThreads) {
  ProbeBoard board(100 * sizeof(double), minutes(10));
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
