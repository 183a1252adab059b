import Formats
import Foundation
import Synchronization
import TestSupport
import Testing

@testable import Storage
@testable import Transform

@Suite struct ModelConditionerTests {
  /// Returns a fused weight with only its second part ill-conditioned, a well-conditioned weight,
  /// an ill-conditioned one, and a bias.
  private func archive() throws -> TensorArchive {
    let good: [Float] = [2, 0, 0, 0, 3, 0, 0, 0, 2]
    let bad: [Float] = [1000, 0, 0, 0, 1, 0, 0, 0, 0.001]
    func tensor(_ values: [Float], _ shape: Shape) throws -> Tensor {
      try Tensor(elementType: .float32, shape: shape, bytes: SharedBytes(elementsOf: values))
    }
    var archive = TensorArchive()
    archive.tensors["a.qkv.weight"] = try tensor(good + bad + good, [9, 3])
    archive.tensors["a.fc.weight"] = try tensor(good, [3, 3])
    archive.tensors["b.fc.weight"] = try tensor(bad, [3, 3])
    archive.tensors["b.fc.bias"] = try tensor([1, 2, 3], [3])
    return archive
  }

  private var recipe: Recipe {
    get throws {
      try Recipe(
        JSONDocument.parse(
          SharedBytes(
            """
            {"rules": [{"match": "*.qkv.weight", "action": "quantize", "parts": 3},
                       {"match": "*.weight", "action": "quantize"}]}
            """.utf8)))
    }
  }

  @Test(arguments: [1, 4])
  func onlyIllConditionedMatricesChange(threads: Int) throws {
    let before = try archive()
    try withTemporaryFolder { folder in
      let (after, matrices) = try ModelConditioner(
        before, recipe: recipe, calibration: nil, conditioner: Conditioner(.target(10))
      ).conditioned(threads: threads, keepingWeightsIn: folder.appending(""))
      // The file that holds the weights has no name, and they are read from it afterwards.
      let names = try folder.names()
      #expect(names.isEmpty)
      #expect(matrices.map(\.isChanged) == [false, true, false, false, true])
      #expect(matrices.allSatisfy { ($0.conditionNumberAfter ?? 1) <= 10 * (1 + 1e-6) })
      for name in ["a.fc.weight", "b.fc.bias"] {
        let (old, new) = try (before.tensors[name]?.bytes(), after.tensors[name]?.bytes())
        #expect(try #require(old).elementsEqual(#require(new)), "\(name)")
      }
      let fused = try #require(after.tensors["a.qkv.weight"]).floatValues()
      let old = try #require(before.tensors["a.qkv.weight"]).floatValues()
      #expect(fused[..<9] == old[..<9] && fused[18...] == old[18...])
      #expect(fused[9..<18] != old[9..<18])
      let alone = try #require(after.tensors["b.fc.weight"]).floatValues()
      #expect(Array(fused[9..<18]) == alone)
    }
  }

  /// All parts of a fused weight come from one reading of it.
  @Test func fusedWeightIsReadOnce() throws {
    let readings = Mutex<[String: Int]>([:])
    var counted = TensorArchive()
    for (name, tensor) in try archive().tensors {
      counted.tensors[name] = try Tensor(elementType: tensor.elementType, shape: tensor.shape) {
        readings.withLock { $0[name, default: 0] += 1 }
        return try tensor.bytes()
      }
    }
    try withTemporaryFolder { folder in
      let conditioner = try ModelConditioner(
        counted, recipe: recipe, calibration: nil, conditioner: Conditioner(.target(10)))
      readings.withLock { $0 = [:] }
      _ = try conditioner.conditioned(threads: 2, keepingWeightsIn: folder.path)
    }
    #expect(
      readings.withLock { $0 } == ["a.qkv.weight": 1, "a.fc.weight": 1, "b.fc.weight": 1])
  }

  @Test func unwritableFolderIsAnError() throws {
    let error = #expect(throws: ModelError.self) {
      _ = try ModelConditioner(
        archive(), recipe: recipe, calibration: nil, conditioner: Conditioner(.target(10))
      ).conditioned(threads: 1, keepingWeightsIn: "/nowhere")
    }
    #expect(
      error?.description
        == "/nowhere: cannot keep a temporary file in it: No such file or directory")
  }
}
