import Formats
import Storage

/// A network as ncnn's layers, with the weights of each.
///
/// The blob `data` is the image, with samples from 0 to 1, and `output` the result, which is not clipped:
/// the names that programs for Real-ESRGAN's networks expect. A layer has the name of its tensors.
struct NCNNExport {
  typealias Layer = NCNNDescription.Layer
  typealias Parameters = [Int: NCNNDescription.Parameter]

  let graph: NetworkGraph
  private let archive: TensorArchive
  let precision: NCNNPrecision
  /// The quantizer of each site.
  let quantizers: [ActivationQuantizer?]
  /// The sizes of all results, for images of one size; `nil` for images of any size.
  let sizes: [(height: Int, width: Int)]?
  let consumers: [[Int]]
  /// Which results have but one pixel, of which ncnn makes an axis of channels alone.
  let isPixel: [Bool]
  var description = NCNNDescription()
  var weights: [NCNNWriter.Weight] = []
  /// The blob of each node's result.
  var blobs: [String]
  /// The layers that make each node's result, if it is a convolution.
  var layerOfNode: [Int: Int] = [:]
  private var names: Set<String> = []
  /// What became of the checkpoint's tensors.
  private(set) var stored: [String: StoredTensor] = [:]
  private(set) var mergedTensors: Set<String> = []
  var integerLayerCount = 0
  /// The sites whose quantizers layers in `int8` apply, with 255 steps between equal bounds.
  var roundedSites: Set<Int> = []

  /// - Throws: `ModelError` when ncnn has no layer for an operator.
  init(
    _ graph: NetworkGraph, _ traits: NetworkTraits, _ archive: TensorArchive,
    _ quantizers: [ActivationQuantizer?], _ precision: NCNNPrecision,
    size: (height: Int, width: Int)?
  ) throws {
    (self.graph, self.archive, self.precision) = (graph, archive, precision)
    self.quantizers = quantizers
    (consumers, isPixel) = (graph.consumers, graph.singlePixels)
    sizes = size.flatMap { graph.sizes(height: $0.height, width: $0.width) }
    blobs = Array(repeating: "", count: graph.nodes.count)
    for (index, node) in graph.nodes.enumerated() {
      if case .input = node.operation {
        setImage(index, traits)
      } else {
        try translate(index, node)
      }
    }
    if let size, sizes == nil {
      throw ModelError(
        "the network does not take images of \(size.width)×\(size.height) pixels"
          + (traits.multiple > 1 ? ", but multiples of \(traits.multiple)" : ""))
    }
    setOutput(traits)
    description = description.splittingBlobs
  }

  // MARK: Layers

  /// Returns a name that no layer has yet.
  private mutating func name(_ wanted: String) -> String {
    let plain = String(wanted.map { $0.isWhitespace ? "_" : $0 }.prefix(200))
    var name = plain
    var number = 2
    while !names.insert(name).inserted {
      name = "\(plain)_\(number)"
      number += 1
    }
    return name
  }

  /// Adds a layer, whose result has its name.
  @discardableResult
  mutating func add(
    _ type: String, _ wanted: String? = nil, _ inputs: [String], _ parameters: Parameters = [:]
  ) -> String {
    let name = name(wanted ?? "\(type.lowercased())_\(description.layers.count)")
    description.layers.append(Layer(type, name, inputs, ["\(name)_out"], parameters))
    return "\(name)_out"
  }

  private mutating func setImage(_ index: Int, _ traits: NetworkTraits) {
    names.insert("data")
    let channels = traits.range.mean.count
    description.layers.append(Layer("Input", "data", [], ["data"], [2: .integer(channels)]))
    let range = traits.range
    blobs[index] = shifted(
      "data", factor: range.range, offsets: range.mean.map { -$0 * range.range })
  }

  private mutating func setOutput(_ traits: NetworkTraits) {
    guard let output = graph.output else { preconditionFailure("a graph has an output") }
    let range = traits.outputRange ?? traits.range
    let result = shifted(blobs[output.node], factor: 1 / range.range, offsets: range.mean)
    let isTaken = description.layers.contains { $0.inputs.contains(result) }
    if !isTaken, let maker = description.layers.lastIndex(where: { $0.outputs == [result] }) {
      description.layers[maker].outputs = ["output"]
    } else {
      description.layers.append(Layer("Noop", name("output"), [result], ["output"]))
    }
  }

  /// Multiplies by a factor, and adds an offset for each channel.
  private mutating func shifted(_ x: String, factor: Float, offsets: [Float]) -> String {
    guard offsets.contains(where: { $0 != 0 }) else {
      return factor == 1
        ? x : add("BinaryOp", nil, [x], [0: .integer(2), 1: .integer(1), 2: .real(factor)])
    }
    let count = offsets.count
    let made = add("Scale", nil, [x], [0: .integer(count), 1: .integer(1)])
    weights.append(.init("factor", count: count) { [Float](repeating: factor, count: count) })
    weights.append(.init("offset", count: count) { offsets })
    return made
  }

  // MARK: Weights

  /// Returns a function that reads a parameter.
  private func reading(_ parameter: GraphParameter) -> @Sendable () throws -> [Float] {
    { [archive] in
      var weights = WeightReader(archive)
      return try parameter.values(&weights)
    }
  }

  /// The name of a layer with this parameter: that of its tensor without `.weight`.
  func layerName(_ parameter: GraphParameter) -> String? {
    guard parameter.derivation == nil, let name = parameter.tensors.first?.name else { return nil }
    for suffix in [".weight", ".data"] where name.hasSuffix(suffix) {
      return String(name.dropLast(suffix.count))
    }
    return name
  }

  private mutating func note(
    _ parameter: GraphParameter, _ form: String, _ byteCount: Int, error: Double = 0
  ) {
    guard parameter.derivation == nil, let name = parameter.tensors.first?.name else {
      mergedTensors.formUnion(parameter.tensors.map(\.name))
      return
    }
    stored[name] = StoredTensor(form: form, byteCount: byteCount, error: error)
  }

  /// Adds a weight without a tag.
  mutating func append(_ parameter: GraphParameter, count: Int) {
    let weight = NCNNWriter.Weight(
      parameter.tensors.first?.name ?? "made", count: count, load: reading(parameter))
    weights.append(weight)
    note(parameter, ElementType.float32.rawValue, weight.byteCount)
  }

  /// Adds a weight with a tag, in the wanted precision.
  mutating func append(tagged parameter: GraphParameter) throws {
    let isHalf = precision == .float16
    let name = parameter.tensors.first?.name ?? "made"
    let weight = NCNNWriter.Weight(
      tagged: name, count: parameter.shape.reduce(1, *), isHalf: isHalf, load: reading(parameter))
    weights.append(weight)
    var error = 0.0
    if isHalf {
      error = try reading(parameter)().reduce(0) {
        max($0, abs(Double($1) - Double(Float(Float16($1)))))
      }
    }
    note(
      parameter, (isHalf ? ElementType.float16 : .float32).rawValue, weight.byteCount, error: error)
  }

  /// Adds a weight `[outputs, …]` as integers with a scale for each output.
  mutating func append(codes parameter: GraphParameter, outputs: Int) throws -> [Float] {
    let values = try reading(parameter)()
    let length = values.count / outputs
    let scales = (0..<outputs).map { output in
      let largest = values[output * length..<(output + 1) * length].reduce(0) { max($0, abs($1)) }
      return largest > 0 ? 127 / largest : 0
    }
    func code(_ index: Int) -> Float {
      max(-127, min(127, (values[index] * scales[index / length]).rounded()))
    }
    let error = values.indices.reduce(0.0) { error, index in
      let scale = scales[index / length]
      let value = scale == 0 ? 0 : code(index) / scale
      return max(error, abs(Double(values[index]) - Double(value)))
    }
    let name = parameter.tensors.first?.name ?? "made"
    let codes = values.indices.map { Int8(code($0)) }
    let weight = NCNNWriter.Weight(codes: name, count: values.count) { codes }
    weights.append(weight)
    note(parameter, ElementType.int8.rawValue, weight.byteCount, error: error)
    return scales
  }
}

/// How weights are stored for ncnn.
public enum NCNNPrecision: String, CaseIterable, Sendable {
  /// Exactly.
  case float32
  /// In half the bytes.
  case float16
  /// As integers with a scale for each output, for convolutions of which a packed model rounds the
  /// inputs within fixed bounds; ncnn rounds these to 255 steps. Others are in `float32`.
  case int8
}

extension NCNNDescription {
  /// The description in which every blob is taken once: ncnn wants a layer that makes copies of others.
  fileprivate var splittingBlobs: NCNNDescription {
    let uses = layers.flatMap(\.inputs).reduce(into: [:]) { $0[$1, default: 0] += 1 }
    var result = NCNNDescription()
    var taken: [String: Int] = [:]
    for var layer in layers {
      for (index, blob) in layer.inputs.enumerated() where uses[blob, default: 0] > 1 {
        layer.inputs[index] = "\(blob)_\(taken[blob, default: 0])"
        taken[blob, default: 0] += 1
      }
      result.layers.append(layer)
      for blob in layer.outputs {
        guard let count = uses[blob], count > 1 else { continue }
        result.layers.append(
          Layer("Split", "split_\(blob)", [blob], (0..<count).map { "\(blob)_\($0)" }))
      }
    }
    return result
  }
}
