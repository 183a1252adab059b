import Foundation
import OrderedCollections
import TestSupport

@testable import Formats
@testable import Storage

/// Small packed files for tests.
enum PackedSamples {
  /// Returns items with every encoding once, padding, an alias, and all optional header members.
  static func items() throws -> [PackedItem<Never>] {
    let weights = (0..<60).map { Float(sin(Double($0) * 1.7)) }
    let weight = try Tensor(
      elementType: .float32, shape: [6, 10], bytes: SharedBytes(elementsOf: weights))
    let noise = (0..<1100).map { Float(sin(Double($0 * $0))) }
    let long = try Tensor(
      elementType: .float32, shape: [1100], bytes: SharedBytes(elementsOf: noise))
    let index = try Tensor(
      elementType: .int64, shape: [40],
      bytes: SharedBytes(elementsOf: (0..<40).map { Int64($0 * 7 % 40) - 3 }))
    let mask = try Tensor(
      elementType: .float32, shape: [8, 9],
      bytes: SharedBytes(elementsOf: (0..<72).map { $0 % 5 == 0 ? Float(-100) : 0 }))
    let constant = try Tensor(
      elementType: .float16, shape: [3, 3],
      bytes: SharedBytes(elementsOf: [Float16](repeating: 1, count: 9)))
    let bias = try Tensor(
      elementType: .float32, shape: [3],
      bytes: SharedBytes(elementsOf: [0.1, -0.2, 0.3] as [Float]))
    return [
      PackedItem(name: "bias", role: .parameter, source: bias, action: .keep),
      try quantizing("tensor", weight, .tensor, parts: 3, bits: 2),
      PackedItem(name: "long", role: .parameter, source: long, action: .keep),
      try quantizing("channel", weight, .channel, bits: 3),
      try quantizing("group", weight, .group(4), bits: 5, parameterType: .float16),
      try quantizing("scaled", weight, .group(4), bits: 3, parameterType: .scaled6),
      PackedItem(name: "index", role: .buffer, source: index, action: .keep),
      PackedItem(name: "mask", role: .buffer, source: mask, action: .keep),
      PackedItem(name: "constant", role: .buffer, source: constant, action: .keep),
      PackedItem(name: "bias.tied", role: .parameter, source: bias, action: .keep),
    ]
  }

  static func quantizing(
    _ name: String, _ tensor: Tensor, _ granularity: QuantizationGranularity, parts: Int = 1,
    bits: Int, parameterType: QuantizationParameterType = .float32
  ) throws -> PackedItem<Never> {
    let layout = try AffineLayout(shape: tensor.shape, granularity: granularity, parts: parts)
    let encoding = AffineSpec(layout: layout, bitWidth: bits, parameterType: parameterType)
    return PackedItem(
      name: name, role: .weight, source: tensor,
      action: .quantize(encoding, method: "sample") {
        let lower = [Float](repeating: -1, count: layout.cellCount)
        let scale = [Float](repeating: 2 / Float(1 << bits - 1), count: layout.cellCount)
        let quantized = try QuantizedTensor.encode(
          values: tensor.floatValues(),
          spec: AffineSpec(layout: layout, bitWidth: bits, parameterType: parameterType),
          lower: lower, scale: scale,
          elementType: tensor.elementType, shape: tensor.shape)
        return (quantized, nil)
      })
  }

  static func header() -> PackedHeader {
    var header = PackedHeader(producer: "tests")
    header.source = PackedHeader.Source(
      format: "pytorch", byteCount: 123, sha256: String(repeating: "a1", count: 32),
      tensorByteCount: 99, root: "params")
    header.metadata = ["license": "none"]
    header.values = [
      "epoch": .integer(3), "loss": .real(0.5), "best": .real(.infinity),
      "digits": .largeInteger("123456789012345678901234567890"),
      "phase": .complex(real: 1, imaginary: -.infinity), "key": .bytes([0, 255, 7]),
      "note": .text("a \"quoted\" line\n"), "nothing": .none, "flag": .boolean(true),
    ]
    header.activations = [
      ActivationQuantizer(name: "layers.0.attn.q", bitWidth: 4, lower: -0.1, upper: 2.5),
      ActivationQuantizer(
        name: "layers.0.fc1.input", bitWidth: 4, lower: -1, upper: 0.5, scaling: .row),
    ]
    header.unknownMembers = ["future": .object(["a": .array([.integer(1), .null])])]
    return header
  }

  /// Returns the bytes of a file with all of the above.
  static func file(
    runningTasks run: @escaping TaskRunner = sequentially
  ) throws -> [UInt8] {
    try file(PackedPlan(header: header(), items: items(), runningTasks: run), runningTasks: run)
  }

  static func file(
    _ plan: PackedPlan<Never>, runningTasks run: @escaping TaskRunner = sequentially
  ) throws -> [UInt8] {
    try withTemporaryFolder { folder in
      let path = folder.appending("sample.condi")
      try plan.file.write(to: path, runningTasks: run)
      return try InputFile(path: path).bytes(at: 0, count: fileSize(path), purpose: "a test").array
    }
  }

  private static func fileSize(_ path: String) throws -> Int { try InputFile(path: path).byteCount }

  /// Opens `bytes` as a packed file.
  static func open<Result>(
    _ bytes: [UInt8], _ body: (PackedModel) throws -> Result
  ) throws -> Result {
    try body(PackedModel(parsing: InputFile(SharedBytes(bytes), path: "sample.condi")))
  }

  /// Returns every fault of `bytes`: one if the file cannot be opened, otherwise those of its
  /// records.
  static func faults(_ bytes: [UInt8]) throws -> [String] {
    do {
      return try open(bytes) { try $0.verifyRecords().map(\.message) }
    } catch let error as ModelError {
      return ["\(error.problem)"]
    }
  }
}
