// Streams a short run to a Thermograd server, prints its figures, and compares two representations.
//
// usage: go run ./example [ADDRESS]
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"math"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	thermograd "thermograd.example/client/generated/thermograd/v1"
)

const (
	runName      = "go-example"
	weight       = 1 // ids are the client's to choose
	hidden       = 2
	output       = 3
	samples      = 8 // of one microbatch
	microbatches = 2
)

// tensor makes numbers that stand for a trainer's: little-endian binary32, row-major.
func tensor(count int, phase float64) []byte {
	data := make([]byte, 0, 4*count)
	for i := range count {
		element := float32(math.Sin(phase + float64(i*i)))
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(element))
	}
	return data
}

func declaration() *thermograd.RunSpec {
	return &thermograd.RunSpec{
		Run:        runName,
		Optimizer:  &thermograd.Optimizer{Kind: thermograd.OptimizerKind_OPTIMIZER_KIND_SGD},
		Parameters: []*thermograd.Parameter{{Id: weight, Name: "weight", Shape: []uint64{4, 3}}},
		Layers: []*thermograd.Layer{
			{Id: hidden, Name: "hidden", Width: 4},
			{Id: output, Name: "output", Width: 2},
		},
	}
}

// runStream sends requests and reads answers. A trainer that must never wait for the server reads
// in a goroutine of its own.
type runStream struct {
	call thermograd.TrainingAnalysisService_StreamRunClient
}

// send sends one request. The reason of a refusal comes with the answers.
func (s runStream) send(request *thermograd.StreamRunRequest) error {
	if err := s.call.Send(request); err != nil && err != io.EOF {
		return err
	}
	return nil
}

func (s runStream) sendTensor(id uint32, kind thermograd.TensorKind, microbatch uint32, shape []uint64, phase float64) error {
	count := 1
	for _, extent := range shape {
		count *= int(extent)
	}
	// A larger tensor goes in several chunks of about 1 MiB, with rising Offset.
	return s.send(&thermograd.StreamRunRequest{Message: &thermograd.StreamRunRequest_Chunk{
		Chunk: &thermograd.TensorChunk{
			TensorId:   id,
			Kind:       kind,
			DataType:   thermograd.DataType_DATA_TYPE_FP32,
			Shape:      shape,
			Microbatch: microbatch,
			Data:       tensor(count, phase),
		}}})
}

func (s runStream) step(step uint64) error {
	loss := 1 / float64(step)
	if err := s.send(&thermograd.StreamRunRequest{Message: &thermograd.StreamRunRequest_StepBegin{
		StepBegin: &thermograd.StepBegin{
			Step:           step,
			Loss:           &loss,
			LearningRate:   0.1,
			MicrobatchSize: samples,
			Microbatches:   microbatches,
		}}}); err != nil {
		return err
	}
	for microbatch := range uint32(microbatches) {
		phase := 10*float64(step) + float64(microbatch)
		for _, sent := range []struct {
			id    uint32
			kind  thermograd.TensorKind
			shape []uint64
			phase float64
		}{
			{weight, thermograd.TensorKind_TENSOR_KIND_GRADIENT, []uint64{4, 3}, phase},
			{hidden, thermograd.TensorKind_TENSOR_KIND_ACTIVATION, []uint64{samples, 4}, phase},
			{output, thermograd.TensorKind_TENSOR_KIND_ACTIVATION, []uint64{samples, 2}, phase},
		} {
			if err := s.sendTensor(sent.id, sent.kind, microbatch, sent.shape, sent.phase); err != nil {
				return err
			}
		}
	}
	if err := s.send(&thermograd.StreamRunRequest{Message: &thermograd.StreamRunRequest_StepEnd{
		StepEnd: &thermograd.StepEnd{Step: step}}}); err != nil {
		return err
	}
	for {
		answer, err := s.call.Recv()
		if err != nil {
			return err
		}
		switch message := answer.Message.(type) {
		case *thermograd.StreamRunResponse_StepReport:
			fmt.Println("step", step)
			printFigures(message.StepReport.Metrics)
		case *thermograd.StreamRunResponse_Notice:
			fmt.Println("notice:", message.Notice.Text)
		case *thermograd.StreamRunResponse_Acknowledgement:
			return nil
		}
	}
}

func streamRun(ctx context.Context, client thermograd.TrainingAnalysisServiceClient) error {
	// Load balancers hash on the header, so that all ranks of a run meet on one server.
	call, err := client.StreamRun(metadata.AppendToOutgoingContext(ctx, "x-thermograd-run", runName))
	if err != nil {
		return err
	}
	stream := runStream{call}
	if err := stream.send(&thermograd.StreamRunRequest{Message: &thermograd.StreamRunRequest_RunSpec{
		RunSpec: declaration()}}); err != nil {
		return err
	}
	accepted, err := call.Recv()
	if err != nil {
		return err
	}
	fmt.Println("accepted, window of steps:", accepted.GetRunAccepted().GetWindowSteps())
	for step := uint64(1); step <= 3; step++ {
		if err := stream.step(step); err != nil {
			return err
		}
	}
	if err := call.CloseSend(); err != nil {
		return err
	}
	if _, err := call.Recv(); err != io.EOF {
		return fmt.Errorf("the stream did not end in order: %w", err)
	}
	return nil
}

func compare(ctx context.Context, client thermograd.TrainingAnalysisServiceClient) error {
	call, err := client.CompareRepresentations(ctx)
	if err != nil {
		return err
	}
	sides := []thermograd.ComparisonSide{
		thermograd.ComparisonSide_COMPARISON_SIDE_X, thermograd.ComparisonSide_COMPARISON_SIDE_Y}
	requests := []*thermograd.CompareRepresentationsRequest{}
	for _, side := range sides {
		requests = append(requests, &thermograd.CompareRepresentationsRequest{
			Message: &thermograd.CompareRepresentationsRequest_Header{Header: &thermograd.ComparisonHeader{
				Side: side, Samples: 16, Features: 4, DataType: thermograd.DataType_DATA_TYPE_FP32}}})
	}
	for _, side := range sides {
		requests = append(requests, &thermograd.CompareRepresentationsRequest{
			Message: &thermograd.CompareRepresentationsRequest_Chunk{Chunk: &thermograd.ComparisonChunk{
				Side: side, Data: tensor(16*4, float64(side))}}})
	}
	for _, request := range requests {
		if err := call.Send(request); err != nil && err != io.EOF {
			return err
		}
	}
	similarities, err := call.CloseAndRecv()
	if err != nil {
		return err
	}
	fmt.Println("comparison")
	printFigures(similarities.Metrics)
	return nil
}

func printFigures(figures []*thermograd.MetricValue) {
	for _, figure := range figures {
		fmt.Print("  ", figure.Name)
		for _, label := range figure.Labels {
			fmt.Printf(" %s=%s", label.Name, label.Value)
		}
		fmt.Println("", figure.Value)
	}
}

func main() {
	address := "127.0.0.1:50051"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	client := thermograd.NewTrainingAnalysisServiceClient(connection)
	if err := streamRun(context.Background(), client); err != nil {
		log.Fatal(err)
	}
	if err := compare(context.Background(), client); err != nil {
		log.Fatal(err)
	}
}
