import Foundation
import OrderedCollections
import Storage
import TestSupport
import Testing

@testable import Formats
@testable import Transform

/// Adapters of PEFT, and what PEFT merges them into (`generate_lora.py`).
@Suite struct LowRankMergeTests {
  private func open(_ name: String) throws -> TensorArchive {
    try FormatRegistry.standard.open(try PackageFolder.fixture("lora/\(name)"))
  }

  /// Linear layers, convolutions and embeddings.
  @Test(arguments: ["float32", "bfloat16"])
  func mergesAsPEFTDoes(_ type: String) throws {
    let base = try open("\(type)/base.safetensors")
    let expected = try open("\(type)/merged.safetensors")
    let merge = try LowRankMerge(base, open("\(type)/adapter_model.safetensors"))
    #expect(
      Set(merge.pairs.keys) == ["block.conv.weight", "block.proj.weight", "embed.weight"])
    #expect(merge.archive.tensors.keys == base.tensors.keys)
    let roundings = try merge.roundings()
    for (name, tensor) in merge.archive.tensors {
      let other = try #require(expected.tensors[name])
      #expect(tensor.elementType == other.elementType)
      #expect(tensor.shape == other.shape)
      let difference = try zip(tensor.doubleValues(), other.doubleValues())
        .reduce(0) { max($0, abs($1.0 - $1.1)) }
      #expect(difference <= roundings[name] ?? 0, "\(name)")
      // The factors did change it.
      let isMerged = merge.pairs[name] != nil
      let original = try #require(base.tensors[name])
      let isChanged = try tensor.firstDifference(from: original) != nil
      #expect(isMerged == isChanged, "\(name)")
    }
  }

  @Test func kohyasNamesMeanTheSameModules() throws {
    let base = try open("float32/base.safetensors")
    let merge = try LowRankMerge(base, open("kohya.safetensors"))
    let other = try LowRankMerge(base, open("float32/adapter_model.safetensors"))
    #expect(Set(merge.pairs.keys) == ["block.conv.weight", "block.proj.weight"])
    for name in merge.pairs.keys {
      let tensor = try #require(merge.archive.tensors[name])
      #expect(try tensor.firstDifference(from: other.archive.tensors[name]!) == nil)
    }
  }

  @Test func adapterOfAnotherBaseIsRefusedByName() throws {
    var base = try open("float32/base.safetensors")
    let adapter = try open("float32/adapter_model.safetensors")
    base.tensors["block.proj.weight"] = try Tensor(
      elementType: .float32, shape: [10, 7],
      bytes: SharedBytes(elementsOf: [Float](repeating: 0, count: 70)))
    #expect(
      throws: ModelError.mismatch(
        expected: "a weight of the shape [10, 6], as the factors of "
          + "'base_model.model.block.proj' have", found: "float32 [10, 7]",
        tensor: "block.proj.weight")
    ) { try LowRankMerge(base, adapter) }
    base.tensors["block.proj.weight"] = nil
    #expect(
      throws: ModelError.mismatch(
        expected: "a weight of the base for the factors of 'base_model.model.block.proj'",
        found: "none")
    ) { try LowRankMerge(base, adapter) }
  }

  @Test func doraIsNamedAndRefused() throws {
    let adapter = try open("dora/adapter_model.safetensors")
    let error = #expect(throws: ModelError.self) {
      try LowRankMerge(open("dora/base.safetensors"), adapter)
    }
    #expect(
      error?.problem
        == .unsupported("it cannot be merged: the magnitudes of DoRA are not supported"))
  }

  @Test func otherTensorsOfAdapterAreRefused() throws {
    var adapter = try open("kohya.safetensors")
    let base = try open("float32/base.safetensors")
    adapter.tensors["head.weight"] = base.tensors["head.weight"]
    var error = #expect(throws: ModelError.self) { try LowRankMerge(base, adapter) }
    #expect(error?.tensor == "head.weight")
    #expect(error?.problem == .unsupported("it cannot be merged: it is no factor of LoRA"))
    adapter.tensors["head.weight"] = nil
    adapter.tensors["lora_unet_block_proj.lora_up.weight"] = nil
    error = #expect(throws: ModelError.self) { try LowRankMerge(base, adapter) }
    #expect(error?.problem == .unsupported("it cannot be merged: the other factor is missing"))
    #expect(throws: ModelError.self) { try LowRankMerge(base, base) }
  }
}
