"""TensorFlow's C++ loader as a program of its own: what it is given and what it answers."""

import subprocess

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import named_tensor_pb2

import keras_transfer as kt


def write(file, tensors):
    with tf.io.TFRecordWriter(str(file)) as writer:
        for name, tensor in tensors.items():
            writer.write(named_tensor_pb2.NamedTensorProto(name=name, tensor=tensor).SerializeToString())


def read(file):
    records = tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    protos = [named_tensor_pb2.NamedTensorProto.FromString(record) for record in records]
    return {proto.name: tf.make_ndarray(proto.tensor) for proto in protos}


def warm_up_requests(version):
    prediction_log_pb2 = pytest.importorskip(
        "tensorflow_serving.apis.prediction_log_pb2", reason="needs tensorflow-serving-api for the warm-up requests"
    )
    records = tf.data.TFRecordDataset(str(version / kt.serving.WARM_UP)).as_numpy_iterator()
    requests = [prediction_log_pb2.PredictionLog.FromString(record).predict_log.request for record in records]
    return {request.model_spec.signature_name: request.inputs for request in requests}


def replies(load_and_run, version, requests, folder):
    """{signature: {output: array}}, as the C++ program computes them."""
    arguments = []
    for signature, tensors in requests.items():
        write(folder / f"{signature}.request", tensors)
        arguments += [signature, str(folder / f"{signature}.request"), str(folder / f"{signature}.reply")]
    process = subprocess.run([load_and_run, version, *arguments], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-3000:]
    return {signature: read(folder / f"{signature}.reply") for signature in requests}


def largest_difference(value, truth):
    assert value.shape == truth.shape
    return np.max(np.abs(value - truth))
