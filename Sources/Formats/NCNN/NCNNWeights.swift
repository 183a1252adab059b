import Storage

/// The weights of an ncnn layer, as they follow one another in a `.bin` file.
struct NCNNWeights: Sendable {
  /// One tensor of a layer.
  struct Part: Sendable {
    /// What follows the layer's name in the tensor's.
    let suffix: String
    let shape: [Int]
    /// Whether a tag says how the elements are stored; without one they are `float32`.
    let isTagged: Bool
    /// Whether it is the factor of each output, or of all, by which a weight became `int8`.
    var isScale = false
  }

  let parts: [Part]

  /// Returns the weights that a layer of this type and with these parameters has.
  ///
  /// - Throws: `ModelError` when the parameters contradict one another, or the layout is not known.
  /// - Returns: `nil` for a type that is not known.
  init?(of layer: NCNNDescription.Layer) throws {
    switch layer.type {
    case "Convolution", "Deconvolution", "DeformableConv2D", "ConvolutionDepthWise",
      "DeconvolutionDepthWise":
      parts = try Self.convolution(layer, sides: [11, 1])
    case "Convolution1D", "Deconvolution1D", "ConvolutionDepthWise1D",
      "DeconvolutionDepthWise1D":
      parts = try Self.convolution(layer, sides: [1])
    case "Convolution3D", "Deconvolution3D", "ConvolutionDepthWise3D",
      "DeconvolutionDepthWise3D":
      parts = try Self.convolution(layer, sides: [21, 11, 1])
    case "InnerProduct":
      let outputs = try layer.count(0)
      parts = try Self.matrix(
        layer, outputs: outputs, size: layer.count(2), inner: [], hasBias: layer.count(1) > 0)
    case "Embed":
      try Self.refuseCodes(layer, key: 18)
      let outputs = try layer.count(0)
      let rows = try Self.quotient(layer, layer.count(3), by: outputs)
      parts =
        [Part(suffix: "weight", shape: [rows, outputs], isTagged: true)]
        + (try layer.count(2) > 0 ? [Self.vector("bias", outputs)] : [])
    case "BatchNorm":
      let channels = try layer.count(0)
      parts = ["weight", "running_mean", "running_var", "bias"].map { Self.vector($0, channels) }
    case "InstanceNorm": parts = try Self.norm(layer, channels: 0, affine: 2)
    case "GroupNorm": parts = try Self.norm(layer, channels: 1, affine: 3)
    case "LayerNorm": parts = try Self.norm(layer, channels: 0, affine: 2)
    case "RMSNorm":
      parts = try layer.count(2, default: 1) > 0 ? [Self.vector("weight", layer.count(0))] : []
    case "Bias": parts = [Self.vector("bias", try layer.count(0))]
    case "Scale":
      // Of this size, the factors are a blob.
      let size = try layer.integer(0)
      parts =
        try size == -233
        ? []
        : [Self.vector("weight", layer.count(0))]
          + (layer.count(1) > 0 ? [Self.vector("bias", layer.count(0))] : [])
    case "PReLU": parts = [Self.vector("weight", try layer.count(0))]
    case "Normalize": parts = [Self.vector("weight", try layer.count(3))]
    case "Padding":
      let count = try layer.count(6)
      parts = count > 0 ? [Self.vector("padding", count)] : []
    case "MemoryData":
      // Width, height, depth and channels, of which those that are 0 are no axis.
      let shape = try [2, 11, 1, 0].map { try layer.count($0) }.filter { $0 > 0 }
      parts = [Part(suffix: "data", shape: shape, isTagged: try layer.count(21, default: 1) == 0)]
    case "Quantize": parts = [Self.vector("scale", try layer.count(0, default: 1))]
    case "Dequantize":
      parts =
        [Self.vector("scale", try layer.count(0, default: 1))] + (try Self.bias(layer, key: 1))
    case "Requantize":
      parts =
        [
          Self.vector("input_scale", try layer.count(0, default: 1)),
          Self.vector("output_scale", try layer.count(1, default: 1)),
        ] + (try Self.bias(layer, key: 2))
    case "LSTM": parts = try Self.recurrent(layer, gates: 4, biases: 4)
    case "GRU": parts = try Self.recurrent(layer, gates: 3, biases: 4)
    case "RNN": parts = try Self.recurrent(layer, gates: 1, biases: 1)
    case "MultiHeadAttention": parts = try Self.attention(layer)
    case "Gemm": parts = try Self.product(layer)
    default:
      guard Self.typesWithoutWeights.contains(layer.type) else { return nil }
      parts = []
    }
  }

  /// ncnn's types of layers that have no weights.
  private static let typesWithoutWeights: Set<String> = [
    "AbsVal", "ArgMax", "BinaryOp", "BNLL", "Cast", "CELU", "Clip", "Concat", "CopyTo", "Crop",
    "CumulativeSum", "DeconvolutionCrop", "DetectionOutput", "Diag", "Dropout", "Einsum",
    "Eltwise", "ELU", "Erf", "Exp", "ExpandDims", "Flatten", "Flip", "Fold", "GELU", "GLU",
    "GridSample", "HardSigmoid", "HardSwish", "Input", "Interp", "InverseSpectrogram", "Log",
    "LRN", "MatMul", "Mish", "MVN", "Noop", "Packing", "Permute", "PixelShuffle", "Pooling",
    "Pooling1D", "Pooling3D", "Power", "PriorBox", "Proposal", "PSROIPooling", "Reduction", "ReLU",
    "Reorg", "Reshape", "ROIAlign", "ROIPooling", "RotaryEmbed", "SDPA", "SELU", "Shrink",
    "ShuffleChannel", "Sigmoid", "Slice", "Softmax", "Softplus", "Spectrogram", "Split", "SPP",
    "Squeeze", "StatisticsPooling", "Swish", "TanH", "Threshold", "Tile", "UnaryOp", "Unfold",
    "YoloDetectionOutput", "Yolov3DetectionOutput",
  ]

  private static func vector(_ suffix: String, _ count: Int) -> Part {
    Part(suffix: suffix, shape: [count], isTagged: false)
  }

  private static func scale(_ suffix: String, _ count: Int) -> Part {
    Part(suffix: suffix, shape: [count], isTagged: false, isScale: true)
  }

  private static func bias(_ layer: NCNNDescription.Layer, key: Int) throws -> [Part] {
    let count = try layer.count(key)
    return count > 0 ? [vector("bias", count)] : []
  }

  private static func norm(
    _ layer: NCNNDescription.Layer, channels: Int, affine: Int
  ) throws -> [Part] {
    guard try layer.count(affine, default: 1) > 0 else { return [] }
    let count = try layer.count(channels)
    return [vector("weight", count), vector("bias", count)]
  }

  private static func quotient(
    _ layer: NCNNDescription.Layer, _ size: Int, by divisor: Int
  ) throws -> Int {
    guard divisor > 0, size % divisor == 0 else {
      throw ModelError.malformed(
        "the \(layer.type) layer '\(layer.name)' has \(counted(size, "weight")), which are no "
          + "multiple of \(divisor)")
    }
    return size / divisor
  }

  /// - Throws: `ModelError` where a parameter says that weights are codes of a layout of their own.
  private static func refuseCodes(_ layer: NCNNDescription.Layer, key: Int) throws {
    guard try layer.count(key) == 0 else {
      throw ModelError.unsupported(
        "the weights of the \(layer.type) layer '\(layer.name)' are quantized in a way that is "
          + "not known")
    }
  }

  /// - Parameter keys: those of the kernel's sides, row-major; sides are as long as the width by default.
  private static func convolution(
    _ layer: NCNNDescription.Layer, sides keys: [Int]
  ) throws -> [Part] {
    let hasBias = try layer.count(5) > 0
    let outputs = try layer.count(0)
    // The weights are another layer's result.
    if try layer.count(19) > 0, layer.type.hasPrefix("Convolution") { return [] }
    let width = try layer.count(1)
    let sides = try keys.map { try layer.count($0, default: width) }
    return try matrix(
      layer, outputs: outputs, size: layer.count(6), inner: sides, hasBias: hasBias)
  }

  /// The weight `[outputs, inputs] + inner`, the bias, and what made the weight `int8`.
  private static func matrix(
    _ layer: NCNNDescription.Layer, outputs: Int, size: Int, inner: [Int], hasBias: Bool
  ) throws -> [Part] {
    var divisor = outputs
    for side in inner {
      let (product, overflow) = divisor.multipliedReportingOverflow(by: side)
      divisor = overflow ? 0 : product
    }
    let inputs = try quotient(layer, size, by: divisor)
    var parts = [Part(suffix: "weight", shape: [outputs, inputs] + inner, isTagged: true)]
    if hasBias { parts.append(vector("bias", outputs)) }
    let term = try layer.count(8)
    guard term > 0 else { return parts }
    if layer.type.contains("DepthWise") {
      parts.append(scale("weight_scale", term % 100 == 1 ? try layer.count(7, default: 1) : 1))
    } else {
      parts.append(scale("weight_scale", outputs))
    }
    parts.append(vector("input_scale", 1))
    if term > 100 { parts.append(vector("output_scale", 1)) }
    return parts
  }

  private static func recurrent(
    _ layer: NCNNDescription.Layer, gates: Int, biases: Int
  ) throws -> [Part] {
    try refuseCodes(layer, key: 8)
    let outputs = try layer.count(0)
    let directions = try layer.count(2) == 2 ? 2 : 1
    let hidden = gates == 4 ? try layer.count(3, default: outputs) : outputs
    let (rows, overflow) = hidden.multipliedReportingOverflow(by: gates * directions)
    let inputs = try quotient(layer, layer.count(1), by: overflow ? 0 : rows)
    var parts = [
      Part(suffix: "weight_ih", shape: [directions, gates * hidden, inputs], isTagged: true),
      Part(suffix: "bias", shape: [directions, biases, hidden], isTagged: true),
      Part(suffix: "weight_hh", shape: [directions, gates * hidden, outputs], isTagged: true),
    ]
    if hidden != outputs {
      parts.append(
        Part(suffix: "weight_hr", shape: [directions, outputs, hidden], isTagged: true))
    }
    return parts
  }

  private static func attention(_ layer: NCNNDescription.Layer) throws -> [Part] {
    try refuseCodes(layer, key: 18)
    let width = try layer.count(0)
    let (keys, values) = (
      try layer.count(3, default: width), try layer.count(4, default: width)
    )
    let queries = try quotient(layer, layer.count(2), by: width)
    return [
      ("q", width, queries), ("k", width, keys), ("v", width, values), ("out", queries, width),
    ]
    .flatMap { name, rows, columns in
      [
        Part(suffix: "\(name).weight", shape: [rows, columns], isTagged: true),
        vector("\(name).bias", rows),
      ]
    }
  }

  private static func product(_ layer: NCNNDescription.Layer) throws -> [Part] {
    try refuseCodes(layer, key: 18)
    let (rows, columns, inner) = (
      try layer.count(7), try layer.count(8), try layer.count(9)
    )
    var parts: [Part] = []
    if try layer.count(4) > 0 {
      let shape = try layer.count(2) > 0 ? [inner, rows] : [rows, inner]
      parts.append(Part(suffix: "a", shape: shape, isTagged: true))
    }
    if try layer.count(5) > 0 {
      let shape = try layer.count(3) > 0 ? [columns, inner] : [inner, columns]
      parts.append(Part(suffix: "b", shape: shape, isTagged: true))
    }
    let broadcast = try layer.integer(10)
    if try layer.count(6) > 0, broadcast != -1 {
      let shapes = [[1], [rows], [rows, 1], [rows, columns], [1, columns]]
      guard shapes.indices.contains(broadcast) else {
        throw ModelError.malformed(
          "the Gemm layer '\(layer.name)' has an addend of kind \(broadcast)")
      }
      parts.append(Part(suffix: "c", shape: shapes[broadcast], isTagged: true))
    }
    return parts
  }
}

/// How the elements of a tensor are stored in a `.bin` file, by the tag before them.
///
/// Source: `ModelBin` in ncnn's `modelbin.cpp`.
enum NCNNStorage: Hashable, Sendable {
  case float32, float16, bfloat16, int8
  /// 256 values in `float32`, then a byte for each element.
  case table

  init(tag: UInt32) {
    switch tag {
    case 0x0130_6B47: self = .float16
    case 0x0134_8B83: self = .bfloat16
    case 0x000D_4B38: self = .int8
    // The second is of weights for which a layer has a scale of its own.
    case 0, 0x0002_C056: self = .float32
    default: self = .table
    }
  }

  var tag: UInt32? {
    switch self {
    case .float32: 0
    case .float16: 0x0130_6B47
    case .bfloat16: 0x0134_8B83
    case .int8: 0x000D_4B38
    case .table: nil
    }
  }

  /// The size of `count` elements in bytes, without padding to a multiple of 4; `nil` on overflow.
  func byteCount(_ count: Int) -> Int? {
    switch self {
    case .float32: ElementType.float32.byteCount(forElements: count)
    case .float16, .bfloat16: ElementType.float16.byteCount(forElements: count)
    case .int8: count
    case .table: count.addingReportingOverflow(1024).overflow ? nil : count + 1024
    }
  }

  var elementType: ElementType {
    switch self {
    case .float32, .table: .float32
    case .float16: .float16
    case .bfloat16: .bfloat16
    case .int8: .int8
    }
  }
}
