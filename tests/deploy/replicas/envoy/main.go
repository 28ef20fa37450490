// Checks an Envoy bootstrap against Envoy's own definitions: no unknown field or type, no value out
// of bounds. What Envoy itself finds beyond that, such as a missing file, it does not.
package main

import (
	"errors"
	"fmt"
	"os"

	bootstrap "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"
)

// What Envoy's definitions say beyond types. It leaves out what is packed into an Any.
type validated interface{ ValidateAll() error }

// The rules of a message and of all messages inside, packed ones included.
func validate(message protoreflect.Message) error {
	var found error
	if packed, ok := message.Interface().(*anypb.Any); ok {
		unpacked, err := packed.UnmarshalNew()
		if err != nil {
			return err
		}
		return validate(unpacked.ProtoReflect())
	}
	if rules, ok := message.Interface().(validated); ok {
		found = rules.ValidateAll()
	}
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsMap():
			if field.MapValue().Message() != nil {
				value.Map().Range(func(_ protoreflect.MapKey, value protoreflect.Value) bool {
					found = errors.Join(found, validate(value.Message()))
					return true
				})
			}
		case field.Message() == nil:
		case field.IsList():
			for i := range value.List().Len() {
				found = errors.Join(found, validate(value.List().Get(i).Message()))
			}
		default:
			found = errors.Join(found, validate(value.Message()))
		}
		return true
	})
	return found
}

func check(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	json, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return err
	}
	configuration := &bootstrap.Bootstrap{}
	if err := protojson.Unmarshal(json, configuration); err != nil {
		return err
	}
	return validate(configuration.ProtoReflect())
}

func main() {
	if err := check(os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}
