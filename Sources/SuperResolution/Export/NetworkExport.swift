import Formats
import Storage

/// The export of a whole network, in full precision or of a packed model, for a runtime.
///
/// For ONNX Runtime, weights of a packed model are codes, from which the graph computes their values
/// exactly, and quantizers of activations are operators of the graph. ncnn runs networks of convolutions.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("model.pth")
/// let network = try SuperResolutionNetwork(archive, name: "model", threads: 1)
/// let outcome = try NetworkExport(network, of: archive, to: .onnx).write(to: "model.onnx")
/// print(outcome.notes.first ?? "")  // operator set 17, which ONNX Runtime 1.13 and later have
/// ```
public struct NetworkExport: Sendable {
  /// A runtime of networks.
  public enum Target: Hashable, Sendable {
    /// ONNX Runtime, and others that run the operators of ONNX.
    case onnx
    /// ncnn, with weights stored in a precision.
    case ncnn(NCNNPrecision)
  }

  private let output: PlannedOutput
  private let tensors: [ExportedTensor]
  private let notes: [String]

  /// Plans the export.
  ///
  /// - Parameters:
  ///   - archive: the tensors of the network.
  ///   - size: the size of images in pixels; `nil` for any size.
  /// - Throws: `ModelError` when the network needs a size, does not take this one, has an operator that
  ///   the runtime lacks, or has a tensor that cannot be read.
  public init(
    _ network: SuperResolutionNetwork, of archive: TensorArchive, to target: Target,
    size: (height: Int, width: Int)? = nil
  ) throws {
    let export =
      switch target {
      case .onnx: try Self.onnx(network, archive, size)
      case .ncnn(let precision): try Self.ncnn(network, archive, precision, size)
      }
    output = export.output
    tensors = archive.tensors.compactMap { name, tensor in
      guard let stored = export.stored[name] else { return nil }
      let type = tensor.elementType.rawValue
      let bitWidth = export.bitWidths[name]
      return ExportedTensor(
        name: name, shape: tensor.shape.dimensions, elementType: type, bitWidth: bitWidth,
        form: stored.form, fidelity: stored.error == 0 ? .exact : .lossy,
        largestError: stored.error, paddedColumns: nil, byteCount: stored.byteCount,
        changes: type == stored.form || bitWidth != nil
          ? [] : ["\(type) values are stored in \(stored.form)"])
    }
    var notes = export.notes
    func list(_ names: [String], _ what: String) {
      guard !names.isEmpty else { return }
      let more = names.count > 3 ? " and \(names.count - 3) more" : ""
      notes.append("\(what): \(names.prefix(3).joined(separator: ", "))\(more)")
    }
    let merged = export.merged.subtracting(export.stored.keys)
    list(
      archive.tensors.keys.filter(merged.contains),
      "made into other constants, as the network uses them")
    list(
      archive.tensors.keys.filter {
        export.stored[$0] == nil && !merged.contains($0)
      }, "left out, as the network makes them again or never uses them")
    self.notes = notes
  }

  /// What becomes of each tensor, without writing a file.
  public var planned: ExportOutcome { ExportOutcome(tensors: tensors, files: [], notes: notes) }

  /// The paths of the files that `write` makes.
  public func paths(for path: String) -> [String] { output.paths(for: path) }

  /// Writes the files, each of which appears whole or not at all.
  ///
  /// - Throws: `ModelError` when one exists and may not be replaced, or cannot be written.
  public func write(to path: String, replacesExisting: Bool = false) throws -> ExportOutcome {
    let files = try output.write(
      to: path, replacesExisting: replacesExisting, runningTasks: sequentially, progress: nil
    ).map { ExportOutcome.File(path: $0.path, byteCount: $0.byteCount) }
    // The one that was named comes before those beside it.
    return ExportOutcome(tensors: tensors, files: files.reversed(), notes: notes)
  }

  // MARK: Runtimes

  /// What a runtime's form of a network amounts to.
  private struct Form {
    let output: PlannedOutput
    /// The tensors of the checkpoint that are constants of their own.
    let stored: [String: StoredTensor]
    /// Those of which constants are made.
    let merged: Set<String>
    /// The bit widths of tensors that are codes.
    let bitWidths: [String: Int]
    let notes: [String]
  }

  private static func onnx(
    _ network: SuperResolutionNetwork, _ archive: TensorArchive, _ size: (height: Int, width: Int)?
  ) throws -> Form {
    let (graph, traits) = (network.architecture.graph, network.architecture.traits)
    let onnx = try ONNXNetwork(graph, traits, WeightReader(archive), size: size)
    let file = try ONNXWriter(
      onnx.onnx, operatorSet: onnx.operatorSet, metadata: ["network": network.summary]
    ).plan()
    let period = traits.multiple
    var notes = [
      "operator set \(onnx.operatorSet), which ONNX Runtime \(onnx.runtimeVersion) and later have",
      "'image' is [1, channels, height, width] from 0 to 1"
        + (size.map { ", of \($0.width)×\($0.height) pixels" } ?? ", of any size")
        + (size == nil && period > 2 ? " above \(period / 2) pixels" : "")
        + "; 'upscaled' is \(network.scale) times its size, and not clipped",
    ]
    let quantizerCount = onnx.quantizers.count { $0 != nil }
    if quantizerCount > 0 {
      notes.append("\(counted(quantizerCount, "activation quantizer")) as operators")
    }
    return Form(
      output: PlannedOutput(file), stored: onnx.storedTensors, merged: onnx.mergedTensors,
      bitWidths: onnx.bitWidths, notes: notes)
  }

  private static func ncnn(
    _ network: SuperResolutionNetwork, _ archive: TensorArchive, _ precision: NCNNPrecision,
    _ size: (height: Int, width: Int)?
  ) throws -> Form {
    let (graph, traits) = (network.architecture.graph, network.architecture.traits)
    let quantizers = graph.sites.quantizers(among: archive.activations)
    let ncnn = try NCNNExport(graph, traits, archive, quantizers, precision, size: size)
    guard precision != .int8 || ncnn.integerLayerCount > 0 else {
      throw ModelError(
        archive.activations.isEmpty
          ? "int8 needs ranges of activations, which a file has that 'convert "
            + "--calibration-images' packed"
          : "no activation of the model has a range that holds for all images, which int8 needs")
    }
    var notes = [
      "'data' is the image, from 0 to 1"
        + (size.map { ", of \($0.width)×\($0.height) pixels" } ?? "")
        + "; 'output' is \(network.scale) times its size, and not clipped"
    ]
    if traits.multiple > 1 {
      notes.append("sides of images must be multiples of \(traits.multiple) pixels")
    }
    if traits.margin > 0 {
      notes.append(
        "the network takes \(counted(traits.margin, "pixel")) off at each edge: mirror the image by "
          + "as many")
    }
    if ncnn.integerLayerCount > 0 {
      notes.append(
        "\(counted(ncnn.integerLayerCount, "convolution")) in int8, whose inputs ncnn rounds to "
          + "255 steps between equal bounds")
    }
    let ignored = quantizers.indices.count {
      quantizers[$0] != nil && !ncnn.roundedSites.contains($0)
    }
    if ignored > 0 {
      notes.append(
        "\(counted(ignored, "activation quantizer")) left out: ncnn takes these values as they are")
    }
    let bitWidths = try archive.tensors.compactMapValues { try $0.quantized?().bitWidth }
    return Form(
      output: try NCNNWriter(ncnn.description, weights: ncnn.weights).plan(), stored: ncnn.stored,
      merged: ncnn.mergedTensors,
      bitWidths: Dictionary(uniqueKeysWithValues: bitWidths.map { ($0, $1) }), notes: notes)
  }
}

/// A tensor of a checkpoint as it is in a runtime's file.
struct StoredTensor: Sendable {
  let form: String
  let byteCount: Int
  /// max |w − ŵ| over all elements.
  var error = 0.0
}
