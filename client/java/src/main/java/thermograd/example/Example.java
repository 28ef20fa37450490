package thermograd.example;

import com.google.protobuf.ByteString;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.StatusException;
import io.grpc.stub.BlockingClientCall;
import io.grpc.stub.MetadataUtils;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import thermograd.v1.CompareRepresentationsRequest;
import thermograd.v1.CompareRepresentationsResponse;
import thermograd.v1.ComparisonChunk;
import thermograd.v1.ComparisonHeader;
import thermograd.v1.ComparisonSide;
import thermograd.v1.DataType;
import thermograd.v1.Label;
import thermograd.v1.Layer;
import thermograd.v1.MetricValue;
import thermograd.v1.Optimizer;
import thermograd.v1.OptimizerKind;
import thermograd.v1.Parameter;
import thermograd.v1.RunSpec;
import thermograd.v1.StepBegin;
import thermograd.v1.StepEnd;
import thermograd.v1.StreamRunRequest;
import thermograd.v1.StreamRunResponse;
import thermograd.v1.TensorChunk;
import thermograd.v1.TensorKind;
import thermograd.v1.TrainingAnalysisServiceGrpc;
import thermograd.v1.TrainingAnalysisServiceGrpc.TrainingAnalysisServiceBlockingV2Stub;

/**
 * Streams a short run to a Thermograd server, prints its figures, and compares two representations.
 *
 * <p>usage: java -cp 'target/classes:target/lib/*' thermograd.example.Example [ADDRESS]
 */
public final class Example {
  private static final String RUN = "java-example";
  // Ids are the client's to choose.
  private static final int WEIGHT = 1;
  private static final int HIDDEN = 2;
  private static final int OUTPUT = 3;
  // Of one microbatch.
  private static final int SAMPLES = 8;
  private static final int MICROBATCHES = 2;

  /** Numbers that stand for a trainer's: little-endian binary32, row-major. */
  private static ByteString tensor(int count, double phase) {
    ByteBuffer data = ByteBuffer.allocate(4 * count).order(ByteOrder.LITTLE_ENDIAN);
    for (int i = 0; i < count; ++i) {
      data.putFloat((float) Math.sin(phase + i * i));
    }
    return ByteString.copyFrom(data.flip());
  }

  private static RunSpec declaration() {
    return RunSpec.newBuilder()
        .setRun(RUN)
        .setOptimizer(Optimizer.newBuilder().setKind(OptimizerKind.OPTIMIZER_KIND_SGD))
        .addParameters(
            Parameter.newBuilder().setId(WEIGHT).setName("weight").addShape(4).addShape(3))
        .addLayers(Layer.newBuilder().setId(HIDDEN).setName("hidden").setWidth(4))
        .addLayers(Layer.newBuilder().setId(OUTPUT).setName("output").setWidth(2))
        .build();
  }

  /** One whole tensor. A larger one goes in several chunks of about 1 MiB, with rising offset. */
  private static StreamRunRequest chunk(
      int id, TensorKind kind, int microbatch, int rows, int columns, double phase) {
    return StreamRunRequest.newBuilder()
        .setChunk(
            TensorChunk.newBuilder()
                .setTensorId(id)
                .setKind(kind)
                .setDataType(DataType.DATA_TYPE_FP32)
                .addShape(rows)
                .addShape(columns)
                .setMicrobatch(microbatch)
                .setData(tensor(rows * columns, phase)))
        .build();
  }

  private static void sendStep(BlockingClientCall<StreamRunRequest, ?> call, int step)
      throws InterruptedException, StatusException {
    call.write(
        StreamRunRequest.newBuilder()
            .setStepBegin(
                StepBegin.newBuilder()
                    .setStep(step)
                    .setLoss(1.0 / step)
                    .setLearningRate(0.1)
                    .setMicrobatchSize(SAMPLES)
                    .setMicrobatches(MICROBATCHES))
            .build());
    for (int microbatch = 0; microbatch < MICROBATCHES; ++microbatch) {
      double phase = 10 * step + microbatch;
      call.write(chunk(WEIGHT, TensorKind.TENSOR_KIND_GRADIENT, microbatch, 4, 3, phase));
      call.write(chunk(HIDDEN, TensorKind.TENSOR_KIND_ACTIVATION, microbatch, SAMPLES, 4, phase));
      call.write(chunk(OUTPUT, TensorKind.TENSOR_KIND_ACTIVATION, microbatch, SAMPLES, 2, phase));
    }
    call.write(StreamRunRequest.newBuilder().setStepEnd(StepEnd.newBuilder().setStep(step)).build());
  }

  private static void streamRun(TrainingAnalysisServiceBlockingV2Stub stub)
      throws InterruptedException, StatusException {
    // Load balancers hash on the header, so that all ranks of a run meet on one server.
    Metadata headers = new Metadata();
    headers.put(Metadata.Key.of("x-thermograd-run", Metadata.ASCII_STRING_MARSHALLER), RUN);
    BlockingClientCall<StreamRunRequest, StreamRunResponse> call =
        stub.withInterceptors(MetadataUtils.newAttachHeadersInterceptor(headers)).streamRun();

    call.write(StreamRunRequest.newBuilder().setRunSpec(declaration()).build());
    for (int step = 1; step <= 3; ++step) {
      sendStep(call, step);
      boolean acknowledged = false;
      while (!acknowledged) {
        // null where the server ended the stream; a refusal is thrown, with the server's reason.
        StreamRunResponse answer = call.read();
        if (answer == null) {
          throw new IllegalStateException("the server ended the stream");
        }
        switch (answer.getMessageCase()) {
          case RUN_ACCEPTED ->
              System.out.println(
                  "accepted, window of steps: " + answer.getRunAccepted().getWindowSteps());
          case STEP_REPORT -> {
            System.out.println("step " + step);
            printFigures(answer.getStepReport().getMetricsList());
          }
          case NOTICE -> System.out.println("notice: " + answer.getNotice().getText());
          case ACKNOWLEDGEMENT -> acknowledged = true;
          default -> {}
        }
      }
    }
    call.halfClose();
    if (call.read() != null) {
      throw new IllegalStateException("the stream did not end in order");
    }
  }

  private static void compare(TrainingAnalysisServiceBlockingV2Stub stub)
      throws InterruptedException, StatusException {
    BlockingClientCall<CompareRepresentationsRequest, CompareRepresentationsResponse> call =
        stub.compareRepresentations();
    List<ComparisonSide> sides =
        List.of(ComparisonSide.COMPARISON_SIDE_X, ComparisonSide.COMPARISON_SIDE_Y);
    for (ComparisonSide side : sides) {
      call.write(
          CompareRepresentationsRequest.newBuilder()
              .setHeader(
                  ComparisonHeader.newBuilder()
                      .setSide(side)
                      .setSamples(16)
                      .setFeatures(4)
                      .setDataType(DataType.DATA_TYPE_FP32))
              .build());
    }
    for (ComparisonSide side : sides) {
      call.write(
          CompareRepresentationsRequest.newBuilder()
              .setChunk(
                  ComparisonChunk.newBuilder()
                      .setSide(side)
                      .setData(tensor(16 * 4, side.getNumber())))
              .build());
    }
    call.halfClose();
    System.out.println("comparison");
    printFigures(call.read().getMetricsList());
  }

  private static void printFigures(List<MetricValue> figures) {
    for (MetricValue figure : figures) {
      StringBuilder line = new StringBuilder("  ").append(figure.getName());
      for (Label label : figure.getLabelsList()) {
        line.append(' ').append(label.getName()).append('=').append(label.getValue());
      }
      System.out.println(line.append(' ').append(figure.getValue()));
    }
  }

  public static void main(String[] arguments) throws InterruptedException, StatusException {
    String address = arguments.length > 0 ? arguments[0] : "127.0.0.1:50051";
    ManagedChannel channel = ManagedChannelBuilder.forTarget(address).usePlaintext().build();
    try {
      TrainingAnalysisServiceBlockingV2Stub stub =
          TrainingAnalysisServiceGrpc.newBlockingV2Stub(channel);
      streamRun(stub);
      compare(stub);
    } finally {
      channel.shutdownNow();
    }
  }

  private Example() {}
}
