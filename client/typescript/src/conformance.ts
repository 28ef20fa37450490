// Sends recorded requests and writes the answers, for tests/conformance.
//
// usage: node dist/conformance.js ADDRESS REQUESTS_FOLDER ANSWERS_FOLDER

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";
import { credentials } from "@grpc/grpc-js";
import {
  CompareRepresentationsRequest,
  CompareRepresentationsResponse,
  StreamRunRequest,
  StreamRunResponse,
  TrainingAnalysisServiceClient,
  type MessageFns,
} from "./generated/thermograd/v1/training_analysis_service.js";

function read<Message>(path: string, type: MessageFns<Message>): Message[] {
  const reader = new BinaryReader(readFileSync(path));
  const messages: Message[] = [];
  while (reader.pos < reader.len) messages.push(type.decode(reader, reader.uint32()));
  return messages;
}

function write<Message>(path: string, type: MessageFns<Message>, messages: Message[]) {
  const writer = new BinaryWriter();
  for (const message of messages) type.encode(message, writer.fork()).join();
  writeFileSync(path, writer.finish());
}

async function streamRun(client: TrainingAnalysisServiceClient, requests: StreamRunRequest[]) {
  const call = client.streamRun();
  const answers: AsyncIterator<StreamRunResponse> = call[Symbol.asyncIterator]();
  const received: StreamRunResponse[] = [];
  // The next step is sent when the last is acknowledged: the order of the answers is then certain.
  for (const request of requests) {
    call.write(request);
    if (request.message?.$case !== "runSpec" && request.message?.$case !== "stepEnd") continue;
    for (let last; last !== "runAccepted" && last !== "acknowledgement"; ) {
      const answer = await answers.next();
      if (answer.done) throw new Error("the server ended the stream");
      received.push(answer.value);
      last = answer.value.message?.$case;
    }
  }
  call.end();
  if (!(await answers.next()).done) throw new Error("the stream did not end in order");
  return received;
}

function compare(client: TrainingAnalysisServiceClient, requests: CompareRepresentationsRequest[]) {
  return new Promise<CompareRepresentationsResponse>((resolve, reject) => {
    const call = client.compareRepresentations((error, response) =>
      error ? reject(error) : resolve(response),
    );
    for (const request of requests) call.write(request);
    call.end();
  });
}

const [address, requests, answers] = process.argv.slice(2) as [string, string, string];
const client = new TrainingAnalysisServiceClient(address, credentials.createInsecure());
const run = await streamRun(client, read(join(requests, "run.binpb"), StreamRunRequest));
write(join(answers, "run.binpb"), StreamRunResponse, run);
const comparison = await compare(
  client,
  read(join(requests, "comparison.binpb"), CompareRepresentationsRequest),
);
write(join(answers, "comparison.binpb"), CompareRepresentationsResponse, [comparison]);
client.close();
