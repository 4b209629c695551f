import gc

import keras

gc.set_threshold(20_000, 20, 20)  # traced graphs are many objects, which each collection would look at

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    # Grappler rewrites graphs that here run a few steps: that takes longer than it saves, and changes no result.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
