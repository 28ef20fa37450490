//! Sends recorded requests and writes the answers, for tests/conformance.
//!
//! usage: conformance ADDRESS REQUESTS_FOLDER ANSWERS_FOLDER

use std::error::Error;
use std::fs;
use std::path::Path;

use prost::Message;
use thermograd::training_analysis_service_client::TrainingAnalysisServiceClient;
use thermograd::{stream_run_request, stream_run_response, StreamRunRequest, StreamRunResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

type Client = TrainingAnalysisServiceClient<Channel>;

fn read<M: Message + Default>(path: &Path) -> Result<Vec<M>, Box<dyn Error>> {
    let bytes = fs::read(path)?;
    let mut rest = bytes.as_slice();
    let mut messages = Vec::new();
    while !rest.is_empty() {
        messages.push(M::decode_length_delimited(&mut rest)?);
    }
    Ok(messages)
}

fn write<M: Message>(path: &Path, messages: &[M]) -> Result<(), Box<dyn Error>> {
    let bytes: Vec<u8> = messages.iter().flat_map(M::encode_length_delimited_to_vec).collect();
    Ok(fs::write(path, bytes)?)
}

async fn stream_run(
    client: &mut Client,
    requests: Vec<StreamRunRequest>,
) -> Result<Vec<StreamRunResponse>, Box<dyn Error>> {
    use stream_run_request::Message::StepEnd;
    use stream_run_response::Message::Acknowledgement;

    let (sender, receiver) = mpsc::channel(requests.len());
    let mut requests = requests.into_iter();
    // The call begins with the server's first answer, which follows the declaration.
    sender.send(requests.next().ok_or("nothing is recorded")?).await?;
    let mut answers = client.stream_run(ReceiverStream::new(receiver)).await?.into_inner();
    let mut received = Vec::new();
    received.push(answers.message().await?.ok_or("the server ended the stream")?);
    // The next step is sent when the last is acknowledged: the order of the answers is then certain.
    for request in requests {
        let mut answered = !matches!(request.message, Some(StepEnd(_)));
        sender.send(request).await?;
        while !answered {
            let answer = answers.message().await?.ok_or("the server ended the stream")?;
            answered = matches!(answer.message, Some(Acknowledgement(_)));
            received.push(answer);
        }
    }
    drop(sender);
    match answers.message().await? {
        None => Ok(received),
        Some(_) => Err("the stream did not end in order".into()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, address, requests, answers] = arguments.as_slice() else {
        return Err("usage: conformance ADDRESS REQUESTS_FOLDER ANSWERS_FOLDER".into());
    };
    let (requests, answers) = (Path::new(requests), Path::new(answers));
    let mut client = Client::connect(format!("http://{address}")).await?;
    let run = stream_run(&mut client, read(&requests.join("run.binpb"))?).await?;
    write(&answers.join("run.binpb"), &run)?;
    let comparison = tokio_stream::iter(read(&requests.join("comparison.binpb"))?);
    let similarities = client.compare_representations(comparison).await?.into_inner();
    write(&answers.join("comparison.binpb"), &[similarities])
}
