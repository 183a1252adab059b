import Storage

/// The most that a file may ask for. Files that ask for more are refused with
/// `ModelError.Problem.limitExceeded` before memory is allocated.
///
/// Each limit is defined where it is applied. This list collects them for the documentation page
/// `Limits`; a test keeps the two equal.
package struct Limit: Hashable, Sendable {
  /// The unit of a limit.
  package enum Unit: String, Sendable {
    case bytes, entries, levels, objects, dimensions
    /// The output bytes per input byte.
    case ratio = "to 1"
  }

  /// The description of what is limited, as it appears in the documentation.
  package let subject: String
  /// The greatest accepted value.
  package let maximum: Int
  /// The unit of `maximum`.
  package let unit: Unit

  private init(_ subject: String, _ maximum: Int, _ unit: Unit) {
    self.subject = subject
    self.maximum = maximum
    self.unit = unit
  }

  /// All limits of the library.
  package static let all: [Limit] = [
    Limit("safetensors header", SafetensorsHeader.byteCountLimit, .bytes),
    Limit("NumPy header", NPYHeader.byteCountLimit, .bytes),
    Limit("nesting of a NumPy header", NPYHeader.nestingLimit, .levels),
    Limit("packed header, inflated", PackedPrologue.headerLimit, .bytes),
    Limit("JSON text", Int(Int32.max), .bytes),
    Limit("values in a JSON text", JSONScanner.valueCountLimit, .objects),
    Limit("nesting of a JSON text", JSONDocument.defaultDepthLimit, .levels),
    Limit("zip entries", ZipDirectory.entryLimit, .entries),
    Limit("name of a zip entry", ZipDirectory.nameByteLimit, .bytes),
    Limit("deflated data", ZipDirectory.deflateRatioLimit, .ratio),
    Limit("zlib streams of packed files", Zlib.largestExpansion, .ratio),
    Limit("pickle", PickleMachine.byteLimit, .bytes),
    Limit("objects in a pickle", PickleMachine.nodeLimit, .objects),
    Limit("integer in a pickle", PickleMachine.integerLimit, .bytes),
    Limit("nesting of a checkpoint", PyTorchObjectReader.depthLimit, .levels),
    Limit(
      "objects in a checkpoint, shared ones counted each time", PyTorchObjectReader.visitLimit,
      .objects),
    Limit("names of a checkpoint together", PyTorchObjectReader.nameByteLimit, .bytes),
    Limit("nesting of the files that are audited", FileAudit.depthLimit, .levels),
    Limit("pickles that are audited", FileAudit.pickleLimit, .objects),
    Limit("nesting of the graphs that are audited", FileAudit.graphDepthLimit, .levels),
    Limit("members of a tar checkpoint", TarDirectory.memberLimit, .entries),
    Limit("index of a sharded checkpoint", ShardIndex.byteCountLimit, .bytes),
    Limit("name of a file beside the input", SiblingFiles.nameByteCountLimit, .bytes),
    Limit("tensors of a GGUF file", GGUFHeader.tensorCountLimit, .entries),
    Limit("files of a split GGUF model", GGUFHeader.Split.countLimit, .entries),
    Limit("name of a GGUF tensor", GGUFHeader.nameByteCountLimit, .bytes),
    Limit("dimensions of a GGUF tensor", GGUFHeader.rankLimit, .dimensions),
    Limit("metadata of a GGUF file", GGUFMetadata.pairCountLimit, .entries),
    Limit("key of GGUF metadata", GGUFMetadata.keyByteCountLimit, .bytes),
    Limit("array in GGUF metadata", GGUFMetadata.arrayCountLimit, .objects),
    Limit("nesting of arrays in GGUF metadata", GGUFMetadata.arrayDepthLimit, .levels),
    Limit("initializers of an ONNX model", ONNXModel.initializerCountLimit, .entries),
    Limit(
      "description of one ONNX tensor, data left out", ONNXFieldReader.byteCountLimit, .bytes),
    Limit("dimensions of an ONNX tensor", ONNXTensorDescription.rankLimit, .dimensions),
    Limit("nesting of a Flax checkpoint", FlaxLimits.depth, .levels),
    Limit("values in a Flax checkpoint", FlaxLimits.valueCount, .objects),
    Limit("text in a Flax checkpoint", MessagePackReader.textByteCountLimit, .bytes),
    Limit("dimensions of a Flax array", FlaxArray.rankLimit, .dimensions),
    Limit("description of an ncnn network", NCNNDescription.byteCountLimit, .bytes),
    Limit("layers of an ncnn network", NCNNDescription.layerCountLimit, .entries),
    Limit("tensor expanded by zero strides", StorageView.expansionLimit, .bytes),
  ]
}
