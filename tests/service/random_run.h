#ifndef THERMOGRAD_TESTS_SERVICE_RANDOM_RUN_H_
#define THERMOGRAD_TESTS_SERVICE_RANDOM_RUN_H_

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "thermograd/v1/training_analysis_service.pb.h"

namespace thermograd::service {

/// Messages in their order.
using Messages = std::vector<v1::StreamRunRequest>;

/// A valid run of one or two ranks of random shape: a hidden layer with some of its symmetries,
/// activations, kinds of tensors, types and options, and a few steps of random numbers, of which
/// some are not finite.
class RandomRun {
 public:
  RandomRun(std::string name, uint32_t ranks, std::minstd_rand* random);

  uint32_t ranks() const { return static_cast<uint32_t>(specs_.size()); }

  /// The stream of a rank, with every tensor in one chunk, one tensor after the other.
  Messages InOrder(uint32_t rank) const;

  /// The same elements in other pieces: tensors cut anywhere, and the pieces of different tensors
  /// in any order.
  Messages Shuffled(uint32_t rank, std::minstd_rand* random) const;

 private:
  // One tensor of one step, or its sums; its messages stay in their order.
  using Tensor = Messages;
  struct Step {
    v1::StreamRunRequest begin;
    std::vector<Tensor> tensors;
    v1::StreamRunRequest end;
  };

  v1::RunSpec MakeSpec(std::string name, uint32_t ranks);
  void Split(uint32_t ranks);
  Step MakeStep(uint32_t rank, uint64_t number);
  void AddTensors(uint32_t rank, uint32_t microbatches, std::vector<Tensor>* tensors);
  void AddActivations(uint32_t microbatches, std::vector<Tensor>* tensors);
  v1::StreamRunRequest MakeChunk(uint32_t id, v1::TensorKind kind, v1::DataType type,
                                 uint64_t elements, uint32_t microbatch);
  std::string Elements(v1::DataType type, uint64_t count);
  v1::DataType AnyType();
  uint64_t Below(uint64_t bound) { return random_() % bound; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }

  std::minstd_rand& random_;
  std::vector<v1::RunSpec> specs_;        // by rank
  std::vector<std::vector<Step>> steps_;  // by rank
};

/// One of the ways in which a stream can be wrong, or merely unusual: a message that comes again,
/// too late, too early or not at all, or that says something else.
void Spoil(Messages* messages, std::minstd_rand* random);

}  // namespace thermograd::service

#endif  // THERMOGRAD_TESTS_SERVICE_RANDOM_RUN_H_
