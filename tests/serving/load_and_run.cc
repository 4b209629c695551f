// Loads a SavedModel with tensorflow::LoadSavedModel, tag "serve", and runs signatures on given inputs.
//
//   load_and_run EXPORT [SIGNATURE REQUEST REPLY]...
//
// REQUEST and REPLY are TFRecord files of NamedTensorProto: one record per input, one per output.

#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/lib/io/record_reader.h"
#include "tensorflow/core/lib/io/record_writer.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/protobuf/named_tensor.pb.h"
#include "tensorflow/core/public/session.h"
#include "tensorflow/core/public/session_options.h"

using NamedTensors = std::vector<std::pair<std::string, tensorflow::Tensor>>;

absl::Status Read(const std::string& path, NamedTensors* tensors) {
  std::unique_ptr<tensorflow::RandomAccessFile> file;
  TF_RETURN_IF_ERROR(tensorflow::Env::Default()->NewRandomAccessFile(path, &file));
  tensorflow::io::SequentialRecordReader reader(file.get());
  for (tensorflow::tstring record;;) {
    const absl::Status status = reader.ReadRecord(&record);
    if (absl::IsOutOfRange(status)) return absl::OkStatus();
    TF_RETURN_IF_ERROR(status);
    tensorflow::NamedTensorProto proto;
    tensorflow::Tensor tensor;
    if (!proto.ParseFromString(std::string(record)) || !tensor.FromProto(proto.tensor()))
      return absl::DataLossError("no NamedTensorProto in " + path);
    tensors->emplace_back(proto.name(), tensor);
  }
}

absl::Status Write(const std::string& path, const NamedTensors& tensors) {
  std::unique_ptr<tensorflow::WritableFile> file;
  TF_RETURN_IF_ERROR(tensorflow::Env::Default()->NewWritableFile(path, &file));
  tensorflow::io::RecordWriter writer(file.get());
  for (const auto& [name, tensor] : tensors) {
    tensorflow::NamedTensorProto proto;
    proto.set_name(name);
    tensor.AsProtoField(proto.mutable_tensor());
    TF_RETURN_IF_ERROR(writer.WriteRecord(proto.SerializeAsString()));
  }
  TF_RETURN_IF_ERROR(writer.Close());
  return file->Close();
}

absl::Status Run(const tensorflow::SavedModelBundle& bundle, const std::string& name, const NamedTensors& request,
                 NamedTensors* reply) {
  const auto found = bundle.GetSignatures().find(name);
  if (found == bundle.GetSignatures().end()) return absl::NotFoundError("no signature " + name);
  NamedTensors feeds;
  for (const auto& [input, tensor] : request) {
    const auto info = found->second.inputs().find(input);
    if (info == found->second.inputs().end()) return absl::NotFoundError("no input " + input + " in " + name);
    feeds.emplace_back(info->second.name(), tensor);
  }
  std::vector<std::string> fetches, names;
  for (const auto& [output, info] : found->second.outputs()) {
    names.push_back(output);
    fetches.push_back(info.name());
  }
  std::vector<tensorflow::Tensor> outputs;
  TF_RETURN_IF_ERROR(bundle.GetSession()->Run(feeds, fetches, {}, &outputs));
  for (size_t i = 0; i < outputs.size(); ++i) reply->emplace_back(names[i], outputs[i]);
  return absl::OkStatus();
}

absl::Status Main(int argc, char** argv) {
  tensorflow::SavedModelBundle bundle;
  TF_RETURN_IF_ERROR(tensorflow::LoadSavedModel({}, {}, argv[1], {"serve"}, &bundle));
  for (int i = 2; i + 2 < argc; i += 3) {
    NamedTensors request, reply;
    TF_RETURN_IF_ERROR(Read(argv[i + 1], &request));
    TF_RETURN_IF_ERROR(Run(bundle, argv[i], request, &reply));
    TF_RETURN_IF_ERROR(Write(argv[i + 2], reply));
  }
  return absl::OkStatus();
}

int main(int argc, char** argv) {
  const absl::Status status = argc < 2 ? absl::InvalidArgumentError("no EXPORT") : Main(argc, argv);
  if (!status.ok()) std::cerr << status << std::endl;
  return status.ok() ? 0 : 1;
}
