// Properties of random streams: thousands of sequences, the same ones every time. What holds of any
// stream InterleavedSessions watches; the tests add what relates one stream to another.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/service/interleaved_sessions.h"
#include "tests/service/random_run.h"

namespace thermograd::service {
namespace {

constexpr uint64_t kMaxBytes = uint64_t{1} << 28;

// Answers to be compared to the bit.
std::vector<std::string> Bytes(const std::vector<v1::StreamRunResponse>& responses) {
  std::vector<std::string> bytes;
  bytes.reserve(responses.size());
  for (const v1::StreamRunResponse& response : responses) {
    bytes.push_back(response.SerializeAsString());
  }
  return bytes;
}

// Gives streams to as many sessions in turns, drawn at random. A stream that is refused goes on
// with a new session, as a client that does not know better.
class Turns {
 public:
  Turns(std::vector<Messages> streams, std::minstd_rand* random)
      : streams_(std::move(streams)), random_(*random) {
    for (size_t i = 0; i < streams_.size(); ++i) {
      turns_.insert(turns_.end(), streams_[i].size(), i);
    }
    std::shuffle(turns_.begin(), turns_.end(), random_);
  }

  // Returns how many messages were refused.
  size_t Play(InterleavedSessions* sessions) {
    size_t refused = 0;
    std::vector<size_t> next(streams_.size());
    for (const size_t i : turns_) {
      refused += sessions->Receive(i, streams_[i][next[i]++]).ok() ? 0 : 1;
    }
    return refused;
  }

 private:
  std::vector<Messages> streams_;
  std::minstd_rand& random_;
  std::vector<size_t> turns_;
};

// The answers to a valid stream that is alone.
std::vector<std::string> AnswersAlone(const Messages& messages) {
  InterleavedSessions sessions({}, kMaxBytes, 1);
  for (const v1::StreamRunRequest& message : messages) {
    const absl::Status status = sessions.Receive(0, message);
    EXPECT_TRUE(status.ok()) << status << "\n" << message.ShortDebugString();
  }
  sessions.EndAll();
  EXPECT_EQ(sessions.violation(), "");
  return Bytes(sessions.responses(0));
}

TEST(RunSessionProperties, NeitherCutsNorOrderOfTensorsChangeAnAnswer) {
  std::minstd_rand random(1);
  for (int i = 0; i < 500; ++i) {
    const RandomRun run("run", 1, &random);
    const std::vector<std::string> expected = AnswersAlone(run.InOrder(0));
    ASSERT_GE(expected.size(), 1u + 3u);  // RunAccepted and an acknowledgement of each step
    for (int shuffle = 0; shuffle < 2; ++shuffle) {
      ASSERT_TRUE(AnswersAlone(run.Shuffled(0, &random)) == expected) << i;
    }
    if (testing::Test::HasFailure()) return;
  }
}

TEST(RunSessionProperties, AWrongStreamChangesNoAnswerOfAnother) {
  std::minstd_rand random(2);
  size_t refused = 0;
  for (int i = 0; i < 500; ++i) {
    const RandomRun first("first", 1, &random);
    const RandomRun second("second", 1, &random);
    const RandomRun wrong("wrong", 1, &random);
    Messages spoiled = wrong.Shuffled(0, &random);
    for (size_t n = random() % 3; n < 3; ++n) {
      if (!spoiled.empty()) Spoil(&spoiled, &random);
    }
    InterleavedSessions sessions({}, kMaxBytes, 3);
    refused +=
        Turns({first.InOrder(0), second.Shuffled(0, &random), spoiled}, &random).Play(&sessions);
    ASSERT_TRUE(Bytes(sessions.responses(0)) == AnswersAlone(first.InOrder(0))) << i;
    ASSERT_TRUE(Bytes(sessions.responses(1)) == AnswersAlone(second.InOrder(0))) << i;
    sessions.EndAll();
    ASSERT_EQ(sessions.violation(), "") << i;
  }
  EXPECT_GT(refused, 500u) << "too few streams were wrong for this to say much";
}

TEST(RunSessionProperties, TheOrderOfRanksChangesNoFigure) {
  std::minstd_rand random(3);
  for (int i = 0; i < 500; ++i) {
    const RandomRun run("run", 2, &random);
    const auto play = [&](const Messages& first, const Messages& second) {
      InterleavedSessions sessions({}, kMaxBytes, 2);
      EXPECT_EQ(Turns({first, second}, &random).Play(&sessions), 0u);
      std::vector<std::vector<std::string>> answers = {Bytes(sessions.responses(0)),
                                                       Bytes(sessions.responses(1))};
      // A rank that is ahead gets the notices of a step before the report of an earlier one.
      for (auto& of_rank : answers) std::sort(of_rank.begin(), of_rank.end());
      sessions.EndAll();
      EXPECT_EQ(sessions.violation(), "") << i;
      return answers;
    };
    const auto expected = play(run.InOrder(0), run.InOrder(1));
    ASSERT_TRUE(play(run.Shuffled(0, &random), run.Shuffled(1, &random)) == expected) << i;
    if (testing::Test::HasFailure()) return;
  }
}

TEST(RunSessionProperties, WhateverComesEveryStepIsAnsweredOrCounted) {
  std::minstd_rand random(4);
  uint64_t acknowledged = 0;
  size_t refused = 0;
  for (int i = 0; i < 1000; ++i) {
    const RandomRun alone("alone", 1, &random);
    const RandomRun run("run", 2, &random);
    std::vector<Messages> streams = {run.Shuffled(0, &random), run.Shuffled(1, &random),
                                     alone.Shuffled(0, &random)};
    for (Messages& stream : streams) {
      if (random() % 2 == 0) Spoil(&stream, &random);
    }
    // Now and then too little memory for all.
    InterleavedSessions sessions({}, random() % 4 == 0 ? 20000 : kMaxBytes, streams.size());
    refused += Turns(streams, &random).Play(&sessions);
    if (random() % 2 == 0) sessions.ExpireSteps();
    acknowledged += sessions.acknowledged();
    sessions.EndAll();
    ASSERT_EQ(sessions.violation(), "") << i;
  }
  EXPECT_GT(acknowledged, 1000u);
  EXPECT_GT(refused, 1000u);
}

}  // namespace
}  // namespace thermograd::service
