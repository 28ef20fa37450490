// Sends recorded requests and writes the answers, for tests/conformance.
//
// usage: conformance ADDRESS REQUESTS_FOLDER ANSWERS_FOLDER
package main

import (
	"bufio"
	"context"
	"io"
	"log"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	thermograd "thermograd.example/client/generated/thermograd/v1"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func read[Message proto.Message](path string, empty func() Message) []Message {
	file, err := os.Open(path)
	check(err)
	defer file.Close()
	reader := bufio.NewReader(file)
	messages := []Message{}
	for {
		message := empty()
		err := protodelim.UnmarshalFrom(reader, message)
		if err == io.EOF {
			return messages
		}
		check(err)
		messages = append(messages, message)
	}
}

func streamRun(client thermograd.TrainingAnalysisServiceClient, requests []*thermograd.StreamRunRequest, answers io.Writer) {
	call, err := client.StreamRun(context.Background())
	check(err)
	// The next step is sent when the last is acknowledged: the order of the answers is then certain.
	for _, request := range requests {
		check(call.Send(request))
		if request.GetRunSpec() == nil && request.GetStepEnd() == nil {
			continue
		}
		for {
			answer, err := call.Recv()
			check(err)
			_, err = protodelim.MarshalTo(answers, answer)
			check(err)
			if answer.GetRunAccepted() != nil || answer.GetAcknowledgement() != nil {
				break
			}
		}
	}
	check(call.CloseSend())
	if _, err := call.Recv(); err != io.EOF {
		log.Fatal("the stream did not end in order: ", err)
	}
}

func compare(client thermograd.TrainingAnalysisServiceClient, requests []*thermograd.CompareRepresentationsRequest, answers io.Writer) {
	call, err := client.CompareRepresentations(context.Background())
	check(err)
	for _, request := range requests {
		check(call.Send(request))
	}
	answer, err := call.CloseAndRecv()
	check(err)
	_, err = protodelim.MarshalTo(answers, answer)
	check(err)
}

func main() {
	address, requests, answers := os.Args[1], os.Args[2], os.Args[3]
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err)
	client := thermograd.NewTrainingAnalysisServiceClient(connection)
	run, err := os.Create(filepath.Join(answers, "run.binpb"))
	check(err)
	streamRun(client, read(filepath.Join(requests, "run.binpb"),
		func() *thermograd.StreamRunRequest { return &thermograd.StreamRunRequest{} }), run)
	check(run.Close())
	comparison, err := os.Create(filepath.Join(answers, "comparison.binpb"))
	check(err)
	compare(client, read(filepath.Join(requests, "comparison.binpb"),
		func() *thermograd.CompareRepresentationsRequest {
			return &thermograd.CompareRepresentationsRequest{}
		}), comparison)
	check(comparison.Close())
}
