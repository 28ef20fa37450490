//! Streams a short run to a Thermograd server, prints its figures, and compares two
//! representations.
//!
//! usage: cargo run --bin example [ADDRESS]

use std::error::Error;

use thermograd::training_analysis_service_client::TrainingAnalysisServiceClient;
use thermograd::{
    compare_representations_request, stream_run_request, stream_run_response,
    CompareRepresentationsRequest, ComparisonChunk, ComparisonHeader, ComparisonSide, DataType,
    Layer, MetricValue, Optimizer, OptimizerKind, Parameter, RunSpec, StepBegin, StepEnd,
    StreamRunRequest, TensorChunk, TensorKind,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

const RUN: &str = "rust-example";
// Ids are the client's to choose.
const WEIGHT: u32 = 1;
const HIDDEN: u32 = 2;
const OUTPUT: u32 = 3;
// Of one microbatch.
const SAMPLES: u64 = 8;
const MICROBATCHES: u32 = 2;

/// Numbers that stand for a trainer's: little-endian binary32, row-major.
fn tensor(count: u64, phase: f64) -> Vec<u8> {
    (0..count).flat_map(|i| ((phase + (i * i) as f64).sin() as f32).to_le_bytes()).collect()
}

fn request(message: stream_run_request::Message) -> StreamRunRequest {
    StreamRunRequest { message: Some(message) }
}

fn declaration() -> RunSpec {
    let layer =
        |id, name: &str, width| Layer { id, name: name.into(), width, ..Default::default() };
    RunSpec {
        run: RUN.into(),
        optimizer: Some(Optimizer { kind: OptimizerKind::Sgd.into(), ..Default::default() }),
        parameters: vec![Parameter {
            id: WEIGHT,
            name: "weight".into(),
            shape: vec![4, 3],
            ..Default::default()
        }],
        layers: vec![layer(HIDDEN, "hidden", 4), layer(OUTPUT, "output", 2)],
        ..Default::default()
    }
}

/// One whole tensor. A larger one goes in several chunks of about 1 MiB, with rising `offset`.
fn chunk(
    id: u32,
    kind: TensorKind,
    microbatch: u32,
    shape: [u64; 2],
    phase: f64,
) -> StreamRunRequest {
    request(stream_run_request::Message::Chunk(TensorChunk {
        tensor_id: id,
        kind: kind.into(),
        data_type: DataType::Fp32.into(),
        shape: shape.to_vec(),
        offset: 0,
        microbatch,
        data: tensor(shape[0] * shape[1], phase),
    }))
}

/// The messages of one step.
fn step_requests(step: u32) -> Vec<StreamRunRequest> {
    let mut requests = vec![request(stream_run_request::Message::StepBegin(StepBegin {
        step: step.into(),
        loss: Some(1.0 / f64::from(step)),
        learning_rate: 0.1,
        microbatch_size: SAMPLES,
        microbatches: MICROBATCHES,
        ..Default::default()
    }))];
    for microbatch in 0..MICROBATCHES {
        let phase = f64::from(10 * step + microbatch);
        requests.extend([
            chunk(WEIGHT, TensorKind::Gradient, microbatch, [4, 3], phase),
            chunk(HIDDEN, TensorKind::Activation, microbatch, [SAMPLES, 4], phase),
            chunk(OUTPUT, TensorKind::Activation, microbatch, [SAMPLES, 2], phase),
        ]);
    }
    requests.push(request(stream_run_request::Message::StepEnd(StepEnd { step: step.into() })));
    requests
}

async fn stream_run(
    client: &mut TrainingAnalysisServiceClient<Channel>,
) -> Result<(), Box<dyn Error>> {
    // A full channel makes the sender wait: it holds no more than this many messages.
    let (sender, receiver) = mpsc::channel(16);
    // The call begins with the server's first answer, which follows the declaration.
    sender.send(request(stream_run_request::Message::RunSpec(declaration()))).await?;
    let mut call = tonic::Request::new(ReceiverStream::new(receiver));
    // Load balancers hash on the header, so that all ranks of a run meet on one server.
    call.metadata_mut().insert("x-thermograd-run", RUN.parse()?);
    let mut answers = client.stream_run(call).await?.into_inner();

    for step in 1..=3 {
        for request in step_requests(step) {
            sender.send(request).await?;
        }
        loop {
            let answer = answers.message().await?.ok_or("the server ended the stream")?;
            match answer.message {
                Some(stream_run_response::Message::RunAccepted(accepted)) => {
                    println!("accepted, window of steps: {}", accepted.window_steps);
                }
                Some(stream_run_response::Message::StepReport(report)) => {
                    println!("step {step}");
                    print_figures(&report.metrics);
                }
                Some(stream_run_response::Message::Notice(notice)) => {
                    println!("notice: {}", notice.text);
                }
                Some(stream_run_response::Message::Acknowledgement(_)) => break,
                // Someone asks for another cadence, or a newer server says what is unknown here.
                Some(stream_run_response::Message::Cadence(_)) | None => {}
            }
        }
    }
    drop(sender);
    match answers.message().await? {
        None => Ok(()),
        Some(_) => Err("the stream did not end in order".into()),
    }
}

async fn compare(
    client: &mut TrainingAnalysisServiceClient<Channel>,
) -> Result<(), Box<dyn Error>> {
    use compare_representations_request::Message;
    let sides = [ComparisonSide::X, ComparisonSide::Y];
    let headers = sides.map(|side| {
        Message::Header(ComparisonHeader {
            side: side.into(),
            samples: 16,
            features: 4,
            data_type: DataType::Fp32.into(),
            ..Default::default()
        })
    });
    let chunks = sides.map(|side| {
        let phase = f64::from(i32::from(side));
        Message::Chunk(ComparisonChunk {
            side: side.into(),
            offset: 0,
            data: tensor(16 * 4, phase),
        })
    });
    let requests = headers
        .into_iter()
        .chain(chunks)
        .map(|message| CompareRepresentationsRequest { message: Some(message) });
    let similarities =
        client.compare_representations(tokio_stream::iter(requests)).await?.into_inner();
    println!("comparison");
    print_figures(&similarities.metrics);
    Ok(())
}

fn print_figures(figures: &[MetricValue]) {
    for figure in figures {
        print!("  {}", figure.name);
        for label in &figure.labels {
            print!(" {}={}", label.name, label.value);
        }
        println!(" {}", figure.value);
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:50051".into());
    let mut client = TrainingAnalysisServiceClient::connect(format!("http://{address}")).await?;
    stream_run(&mut client).await?;
    compare(&mut client).await
}
