import Foundation
import TestSupport

@testable import Formats

/// A sharded checkpoint of float32, float16, bfloat16 and int64 tensors, some of them equal.
struct LargeCheckpoint {
  let folder: String
  let index: String
  let shards: [String]

  /// - Parameters:
  ///   - layers: of two weights of 128 × 192, with a norm and positions.
  init(in parent: TemporaryFolder, named name: String = "model", layers: Int = 12, seed: UInt64 = 5)
    throws
  {
    folder = parent.appending(name)
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    var random = SplitMix(seed: seed)
    var weightMap: [String: String] = [:]
    let shardCount = 4
    var shards: [String] = []
    var first: SharedBytes?
    for shard in 0..<shardCount {
      let shardName = "model-0000\(shard + 1)-of-0000\(shardCount).safetensors"
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
          // Tied weights, in different shards.
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
      for tensor in archive.tensors.keys { weightMap[tensor] = shardName }
      let path = "\(folder)/\(shardName)"
      try FormatRegistry.standard.write(archive, as: SafetensorsFormat(), to: path)
      shards.append(path)
    }
    self.shards = shards
    index = "\(folder)/model.safetensors.index.json"
    try JSONSerialization.data(withJSONObject: ["weight_map": weightMap], options: .sortedKeys)
      .write(to: URL(filePath: index))
  }
}
