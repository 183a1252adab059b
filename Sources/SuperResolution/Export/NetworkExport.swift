import Formats
import Storage

/// The export of a whole network, in full precision or of a packed model, which ONNX Runtime runs.
///
/// Weights of a packed model are codes, from which the graph computes their values exactly; quantizers
/// of activations are operators of the graph.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("model.pth")
/// let network = try SuperResolutionNetwork(archive, name: "model", threads: 1)
/// let outcome = try NetworkExport(network, of: archive).write(to: "model.onnx")
/// print(outcome.notes.first ?? "")  // operator set 17, which ONNX Runtime 1.13 and later have
/// ```
public struct NetworkExport: Sendable {
  private let file: PlannedFile<Never>
  private let tensors: [ExportedTensor]
  private let notes: [String]

  /// Plans the export.
  ///
  /// - Parameters:
  ///   - archive: the tensors of the network.
  ///   - size: the size of images in pixels; `nil` for any size.
  /// - Throws: `ModelError` when the network needs a size, does not take this one, or has a tensor that
  ///   cannot be read.
  public init(
    _ network: SuperResolutionNetwork, of archive: TensorArchive,
    size: (height: Int, width: Int)? = nil
  ) throws {
    let architecture = network.architecture
    let onnx = try ONNXNetwork(
      architecture.graph, architecture.traits, WeightReader(archive), size: size)
    file = try ONNXWriter(
      onnx.onnx, operatorSet: onnx.operatorSet, metadata: ["network": network.summary]
    ).plan()
    tensors = archive.tensors.compactMap { name, tensor in
      guard let stored = onnx.storedTensors[name] else { return nil }
      let type = tensor.elementType.rawValue
      let bitWidth = onnx.bitWidths[name]
      return ExportedTensor(
        name: name, shape: tensor.shape.dimensions, elementType: type, bitWidth: bitWidth,
        form: stored.form, fidelity: .exact, largestError: 0, paddedColumns: nil,
        byteCount: stored.byteCount,
        changes: tensor.elementType == .float32 || bitWidth != nil
          ? [] : ["\(type) values are stored in float32"])
    }
    let runtime = onnx.runtimeVersion
    let period = architecture.traits.multiple
    var notes = [
      "operator set \(onnx.operatorSet), which ONNX Runtime \(runtime) and later have",
      "'image' is [1, channels, height, width] from 0 to 1"
        + (size.map { ", of \($0.width)×\($0.height) pixels" } ?? ", of any size")
        + (size == nil && period > 2 ? " above \(period / 2) pixels" : "")
        + "; 'upscaled' is \(architecture.scale) times its size, and not clipped",
    ]
    func list(_ names: [String], _ what: String) {
      guard !names.isEmpty else { return }
      let more = names.count > 3 ? " and \(names.count - 3) more" : ""
      notes.append("\(what): \(names.prefix(3).joined(separator: ", "))\(more)")
    }
    let quantizerCount = onnx.quantizers.count { $0 != nil }
    if quantizerCount > 0 {
      notes.append("\(counted(quantizerCount, "activation quantizer")) as operators")
    }
    let merged = onnx.mergedTensors.subtracting(onnx.storedTensors.keys)
    list(
      archive.tensors.keys.filter(merged.contains),
      "made into other constants, as the network uses them")
    list(
      archive.tensors.keys.filter {
        onnx.storedTensors[$0] == nil && !merged.contains($0)
      }, "left out, as the network makes them again or never uses them")
    self.notes = notes
  }

  /// What becomes of each tensor, without writing a file.
  public var planned: ExportOutcome { ExportOutcome(tensors: tensors, files: [], notes: notes) }

  /// Writes the file, which appears whole or not at all.
  ///
  /// - Throws: `ModelError` when it exists and may not be replaced, or cannot be written.
  public func write(to path: String, replacesExisting: Bool = false) throws -> ExportOutcome {
    let files = try PlannedOutput(file).write(
      to: path, replacesExisting: replacesExisting, runningTasks: sequentially, progress: nil
    ).map { ExportOutcome.File(path: $0.path, byteCount: $0.byteCount) }
    return ExportOutcome(tensors: tensors, files: files, notes: notes)
  }
}
