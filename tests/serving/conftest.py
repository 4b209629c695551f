import hashlib
import os
import pathlib
import shutil
import subprocess

import pytest
import tensorflow as tf

SOURCE = pathlib.Path(__file__).with_name("load_and_run.cc")


@pytest.fixture(scope="session")
def load_and_run(request, tmp_path_factory):
    """The compiled program; pytest's cache keeps it until its source or TensorFlow changes."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("needs a C++ compiler: neither $CXX nor g++ nor clang++ found")
    if not pathlib.Path(tf.sysconfig.get_include(), "tensorflow/cc/saved_model/loader.h").is_file():
        pytest.skip("needs the C++ headers, which this TensorFlow package does not bring")
    flags, folder = tf.sysconfig.get_compile_flags(), tf.sysconfig.get_lib()
    key = hashlib.sha256(
        " ".join([tf.__version__, folder, compiler, *flags]).encode() + SOURCE.read_bytes()
    ).hexdigest()
    binary = request.config.cache.mkdir("keras_transfer") / f"load_and_run-{key[:16]}"
    if not binary.exists():
        beside = tmp_path_factory.mktemp("build") / "load_and_run"
        # Nothing calls the kernels by name: without --no-as-needed the linker drops the libraries that register them.
        libraries = [f"-L{folder}", f"-Wl,-rpath,{folder}", "-Wl,--no-as-needed"]
        libraries += ["-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"]
        command = [compiler, "-w", *flags, str(SOURCE), "-o", str(beside), *libraries]
        built = subprocess.run(command, capture_output=True, text=True)
        assert built.returncode == 0, built.stderr[-3000:]
        shutil.copy(beside, binary.with_suffix(".part"))
        os.replace(binary.with_suffix(".part"), binary)
    return binary
