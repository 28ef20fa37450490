#include "tests/benchmark/discarding_servers.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "grpcpp/grpcpp.h"
#include "thermograd/v1/training_analysis_service.grpc.pb.h"

namespace thermograd {
namespace {

class EmptyReactor final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  EmptyReactor() {
    v1::StreamRunResponse accepted;
    accepted.mutable_run_accepted();
    bool own_buffer = false;
    (void)grpc::SerializationTraits<v1::StreamRunResponse>::Serialize(accepted, &accepted_,
                                                                      &own_buffer);
    StartWrite(&accepted_);
    StartRead(&incoming_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    incoming_.Clear();
    StartRead(&incoming_);
  }

  void OnDone() override { delete this; }

 private:
  grpc::ByteBuffer accepted_;
  grpc::ByteBuffer incoming_;
};

class EmptyService final : public v1::TrainingAnalysisService::WithRawCallbackMethod_StreamRun<
                               v1::TrainingAnalysisService::Service> {
 public:
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* StreamRun(
      grpc::CallbackServerContext* /*context*/) override {
    return new EmptyReactor;
  }
};

void SayListening(int port) { std::fprintf(stderr, "{\"grpc\":\"127.0.0.1:%d\"}\n", port); }

int Fail(const char* what) {
  std::perror(what);
  return EXIT_FAILURE;
}

}  // namespace

int ServeEmptyHandler() {
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigprocmask(SIG_BLOCK, &stop, nullptr);
  EmptyService service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.SetMaxReceiveMessageSize(-1);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return EXIT_FAILURE;
  SayListening(port);
  int signal = 0;
  sigwait(&stop, &signal);
  server->Shutdown();
  return EXIT_SUCCESS;
}

int ServeRawTcp() {
  constexpr size_t kBufferBytes = size_t{1} << 20;
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (bind(listener, generic, size) != 0 || listen(listener, 1) != 0 ||
      getsockname(listener, generic, &size) != 0) {
    return Fail("listen");
  }
  SayListening(ntohs(address.sin_port));
  std::vector<char> buffer(kBufferBytes);
  for (;;) {
    const int connection = accept(listener, nullptr, nullptr);
    if (connection < 0) return Fail("accept");
    while (read(connection, buffer.data(), buffer.size()) > 0) {
    }
    close(connection);
  }
}

}  // namespace thermograd
