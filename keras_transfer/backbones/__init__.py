from keras_transfer.backbones.tf_hub import HubLayer, from_hub
