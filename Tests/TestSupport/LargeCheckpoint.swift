import Formats
import Foundation
import Storage

/// A sharded checkpoint of float32, float16, bfloat16 and int64 tensors, some of them equal.
public struct LargeCheckpoint: Sendable {
  public let folder: String
  public let index: String
  public let shards: [String]

  private static let shardCount = 4

  /// Creates a checkpoint that the test may change or consume, as a copy of one that is made once.
  ///
  /// - Parameters:
  ///   - layers: The number of layers, each of two weights of 128 × 192, a norm and positions.
  public init(in parent: TemporaryFolder, layers: Int = 12, seed: UInt64 = 5) throws {
    let name = "checkpoint-\(layers)-\(seed)"
    let original = try SharedMaterial.folder(name) {
      try Self.write(layers: layers, seed: seed, to: $0)
    }
    folder = parent.appending("model")
    try FileManager.default.copyItem(atPath: original.path, toPath: folder)
    index = "\(folder)/\(Self.indexName)"
    shards = (0..<Self.shardCount).map { [folder] in "\(folder)/\(Self.shardName($0))" }
  }

  private static let indexName = "model.safetensors.index.json"

  private static func shardName(_ shard: Int) -> String {
    "model-0000\(shard + 1)-of-0000\(shardCount).safetensors"
  }

  private static func write(layers: Int, seed: UInt64, to folder: TemporaryFolder) throws {
    var random = SplitMix(seed: seed)
    var weightMap: [String: String] = [:]
    var first: SharedBytes?
    for shard in 0..<shardCount {
      var archive = TensorArchive()
      archive.metadata["format"] = "pt"
      for layer in stride(from: shard, to: layers, by: shardCount) {
        let type: ElementType = [.float32, .float16, .bfloat16][layer % 3]
        for part in ["up", "down"] {
          var values = (0..<128 * 192).map { _ in
            Double(Int32(truncatingIfNeeded: random.next())) * 0x1p-34
          }
          if layer % 7 == 6 { values = values.map { abs($0) } }
          var bytes = type.bytes(rounding: values)
          // These weights are tied across different shards.
          if type == .float32, part == "up" {
            if layer == layers - layers % 3 - 3 { bytes = first ?? bytes }
            first = first ?? bytes
          }
          archive.tensors["layers.\(layer).\(part).weight"] = try Tensor(
            elementType: type, shape: Shape([128, 192])!, bytes: bytes)
        }
        archive.tensors["layers.\(layer).norm.weight"] = try Tensor(
          elementType: .float32, shape: Shape([192])!,
          bytes: SharedBytes(elementsOf: (0..<192).map { Float($0) * 0.37 + Float(layer) }))
        archive.tensors["layers.\(layer).positions"] = try Tensor(
          elementType: .int64, shape: Shape([500])!,
          bytes: SharedBytes(elementsOf: (0..<500).map { Int64($0 % (layer + 3)) }))
      }
      for tensor in archive.tensors.keys { weightMap[tensor] = shardName(shard) }
      try FormatRegistry.standard.write(
        archive, as: SafetensorsFormat(), to: folder.appending(shardName(shard)))
    }
    try JSONSerialization.data(withJSONObject: ["weight_map": weightMap], options: .sortedKeys)
      .write(to: URL(filePath: folder.appending(indexName)))
  }
}
