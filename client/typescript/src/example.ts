// Streams a short run to a Thermograd server, prints its figures, and compares two representations.
//
// usage: node dist/example.js [ADDRESS]

import { once } from "node:events";
import { credentials, Metadata, type ClientWritableStream } from "@grpc/grpc-js";
import type { MetricValue } from "./generated/thermograd/v1/report.js";
import { OptimizerKind, RunSpec, StepBegin } from "./generated/thermograd/v1/run.js";
import { DataType, TensorChunk, TensorKind } from "./generated/thermograd/v1/tensor.js";
import {
  ComparisonChunk,
  ComparisonHeader,
  ComparisonSide,
  TrainingAnalysisServiceClient,
  type CompareRepresentationsRequest,
  type CompareRepresentationsResponse,
  type StreamRunRequest,
  type StreamRunResponse,
} from "./generated/thermograd/v1/training_analysis_service.js";

const RUN = "typescript-example";
// Ids are the client's to choose.
const WEIGHT = 1;
const HIDDEN = 2;
const OUTPUT = 3;
// Of one microbatch.
const SAMPLES = 8;
const MICROBATCHES = 2;

/** Numbers that stand for a trainer's: little-endian binary32, row-major. */
function tensor(count: number, phase: number): Buffer {
  const data = Buffer.alloc(4 * count);
  for (let i = 0; i < count; ++i) data.writeFloatLE(Math.sin(phase + i * i), 4 * i);
  return data;
}

/** Writes a message, and waits where the server is slower than we are. */
async function send<Message>(call: ClientWritableStream<Message>, message: Message) {
  if (!call.write(message)) await once(call, "drain");
}

/** One whole tensor. A larger one goes in several chunks of about 1 MiB, with rising `offset`. */
function chunk(
  tensorId: number,
  kind: TensorKind,
  microbatch: number,
  shape: number[],
  phase: number,
): StreamRunRequest {
  const count = shape.reduce((product, extent) => product * extent, 1);
  const value = TensorChunk.fromPartial({
    tensorId,
    kind,
    dataType: DataType.FP32,
    shape: shape.map(BigInt),
    microbatch,
    data: tensor(count, phase),
  });
  return { message: { $case: "chunk", value } };
}

/** The messages of one step. */
function* stepRequests(step: number): Generator<StreamRunRequest> {
  const begin = StepBegin.fromPartial({
    step: BigInt(step),
    loss: 1 / step,
    learningRate: 0.1,
    microbatchSize: BigInt(SAMPLES),
    microbatches: MICROBATCHES,
  });
  yield { message: { $case: "stepBegin", value: begin } };
  for (let microbatch = 0; microbatch < MICROBATCHES; ++microbatch) {
    const phase = 10 * step + microbatch;
    yield chunk(WEIGHT, TensorKind.GRADIENT, microbatch, [4, 3], phase);
    yield chunk(HIDDEN, TensorKind.ACTIVATION, microbatch, [SAMPLES, 4], phase);
    yield chunk(OUTPUT, TensorKind.ACTIVATION, microbatch, [SAMPLES, 2], phase);
  }
  yield { message: { $case: "stepEnd", value: { step: BigInt(step) } } };
}

async function streamRun(client: TrainingAnalysisServiceClient) {
  // Load balancers hash on the header, so that all ranks of a run meet on one server.
  const metadata = new Metadata();
  metadata.set("x-thermograd-run", RUN);
  const call = client.streamRun(metadata);
  // A refusal is thrown where answers are read, with the server's reason.
  const answers: AsyncIterator<StreamRunResponse> = call[Symbol.asyncIterator]();

  const spec = RunSpec.fromPartial({
    run: RUN,
    optimizer: { kind: OptimizerKind.SGD },
    parameters: [{ id: WEIGHT, name: "weight", shape: [4n, 3n] }],
    layers: [
      { id: HIDDEN, name: "hidden", width: 4n },
      { id: OUTPUT, name: "output", width: 2n },
    ],
  });
  await send(call, { message: { $case: "runSpec", value: spec } });

  for (let step = 1; step <= 3; ++step) {
    for (const request of stepRequests(step)) await send(call, request);
    for (let acknowledged = false; !acknowledged; ) {
      const answer = await answers.next();
      if (answer.done) throw new Error("the server ended the stream");
      const message = answer.value.message;
      switch (message?.$case) {
        case "runAccepted":
          console.log("accepted, window of steps:", message.value.windowSteps);
          break;
        case "stepReport":
          console.log("step", step);
          printFigures(message.value.metrics);
          break;
        case "notice":
          console.log("notice:", message.value.text);
          break;
        case "acknowledgement":
          acknowledged = true;
      }
    }
  }
  call.end();
  if (!(await answers.next()).done) throw new Error("the stream did not end in order");
}

async function compare(client: TrainingAnalysisServiceClient) {
  let call!: ClientWritableStream<CompareRepresentationsRequest>;
  const answer = new Promise<CompareRepresentationsResponse>((resolve, reject) => {
    call = client.compareRepresentations((error, response) =>
      error ? reject(error) : resolve(response),
    );
  });
  const sides = [ComparisonSide.X, ComparisonSide.Y];
  for (const side of sides) {
    const shape = { samples: 16n, features: 4n, dataType: DataType.FP32 };
    const header = ComparisonHeader.fromPartial({ side, ...shape });
    await send(call, { message: { $case: "header", value: header } });
  }
  for (const side of sides) {
    const value = ComparisonChunk.fromPartial({ side, data: tensor(16 * 4, side) });
    await send(call, { message: { $case: "chunk", value } });
  }
  call.end();
  console.log("comparison");
  printFigures((await answer).metrics);
}

function printFigures(figures: MetricValue[]) {
  for (const { name, labels, value } of figures) {
    const text = labels.map((label) => `${label.name}=${label.value}`);
    console.log([`  ${name}`, ...text, value].join(" "));
  }
}

const address = process.argv[2] ?? "127.0.0.1:50051";
const client = new TrainingAnalysisServiceClient(address, credentials.createInsecure());
await streamRun(client);
await compare(client);
client.close();
