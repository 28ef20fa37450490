package thermograd.example;

import com.google.protobuf.Message;
import com.google.protobuf.Parser;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.StatusException;
import io.grpc.stub.BlockingClientCall;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import thermograd.v1.CompareRepresentationsRequest;
import thermograd.v1.CompareRepresentationsResponse;
import thermograd.v1.StreamRunRequest;
import thermograd.v1.StreamRunResponse;
import thermograd.v1.TrainingAnalysisServiceGrpc;
import thermograd.v1.TrainingAnalysisServiceGrpc.TrainingAnalysisServiceBlockingV2Stub;

/**
 * Sends recorded requests and writes the answers, for tests/conformance.
 *
 * <p>usage: Conformance ADDRESS REQUESTS_FOLDER ANSWERS_FOLDER
 */
public final class Conformance {
  private static <M extends Message> List<M> read(Path path, Parser<M> parser) throws IOException {
    List<M> messages = new ArrayList<>();
    try (InputStream file = Files.newInputStream(path)) {
      for (M message; (message = parser.parseDelimitedFrom(file)) != null; ) {
        messages.add(message);
      }
    }
    return messages;
  }

  private static void streamRun(
      TrainingAnalysisServiceBlockingV2Stub stub,
      List<StreamRunRequest> requests,
      OutputStream answers)
      throws InterruptedException, IOException, StatusException {
    BlockingClientCall<StreamRunRequest, StreamRunResponse> call = stub.streamRun();
    // The next step is sent when the last is acknowledged: the order of answers is then certain.
    for (StreamRunRequest request : requests) {
      call.write(request);
      boolean answered = !request.hasRunSpec() && !request.hasStepEnd();
      while (!answered) {
        StreamRunResponse answer = call.read();
        answer.writeDelimitedTo(answers);
        answered = answer.hasRunAccepted() || answer.hasAcknowledgement();
      }
    }
    call.halfClose();
    if (call.read() != null) {
      throw new IllegalStateException("the stream did not end in order");
    }
  }

  private static void compare(
      TrainingAnalysisServiceBlockingV2Stub stub,
      List<CompareRepresentationsRequest> requests,
      OutputStream answers)
      throws InterruptedException, IOException, StatusException {
    BlockingClientCall<CompareRepresentationsRequest, CompareRepresentationsResponse> call =
        stub.compareRepresentations();
    for (CompareRepresentationsRequest request : requests) {
      call.write(request);
    }
    call.halfClose();
    call.read().writeDelimitedTo(answers);
  }

  public static void main(String[] arguments)
      throws InterruptedException, IOException, StatusException {
    Path requests = Path.of(arguments[1]);
    Path answers = Path.of(arguments[2]);
    ManagedChannel channel = ManagedChannelBuilder.forTarget(arguments[0]).usePlaintext().build();
    TrainingAnalysisServiceBlockingV2Stub stub =
        TrainingAnalysisServiceGrpc.newBlockingV2Stub(channel);
    try (OutputStream run = Files.newOutputStream(answers.resolve("run.binpb"));
        OutputStream comparison = Files.newOutputStream(answers.resolve("comparison.binpb"))) {
      streamRun(stub, read(requests.resolve("run.binpb"), StreamRunRequest.parser()), run);
      compare(
          stub,
          read(requests.resolve("comparison.binpb"), CompareRepresentationsRequest.parser()),
          comparison);
    } finally {
      channel.shutdownNow();
    }
  }

  private Conformance() {}
}
