import Foundation
import TestSupport
import Testing

@testable import Formats
@testable import Storage

/// Weights inside the wrappers that training tools put around them.
@Suite struct CheckpointNetworkTests {
  /// Returns an archive of two-element vectors, nested at the slashes of their names.
  private func archive(_ names: [String]) throws -> TensorArchive {
    var archive = TensorArchive()
    for name in names {
      archive.tensors[name.replacing("/", with: ".")] = try Tensor(
        elementType: .float32, shape: [2], bytes: SharedBytes([UInt8](repeating: 0, count: 8)))
    }
    archive.structure = structure(of: names.map { $0.split(separator: "/").map(String.init) }, "")
    return archive
  }

  private func structure(of names: [[String]], _ prefix: String) -> ArchiveStructure {
    var entries: [ArchiveStructure.Entry] = []
    for key in names.map({ $0[0] }) where !entries.contains(where: { $0.key == .text(key) }) {
      let rest = names.filter { $0[0] == key }.map { Array($0.dropFirst()) }
      let full = ArchiveStructure.join(prefix, key)
      entries.append(
        .init(key: .text(key), value: rest == [[]] ? .leaf(full) : structure(of: rest, full)))
    }
    return .dictionary(entries, isOrdered: false)
  }

  @Test(
    arguments: [
      (["a.weight", "b.weight"], nil), (["model.a.weight", "model.b.weight"], nil),
      (["model.a.weight", "lm_head.weight"], nil),
      (["params/a.weight", "params_ema/a.weight"], "params_ema"),
      (["params-ema/a.weight"], "params-ema"), (["net_g/a.weight"], "net_g"),
      (["module.a.weight"], "module"), (["_orig_mod.module.a.weight"], "_orig_mod.module"),
      (["module.a.weight", "n_averaged"], nil), (["params/module.a.weight"], "params.module"),
      (["module.a.weight", "module.a.total_ops", "total_ops"], "module"),
      (["state_dict/model.a.weight", "optimizer_states/0"], "state_dict.model"),
      (["state_dict/model.a.weight", "state_dict/model.b", "state_dict/c.d"], "state_dict"),
      (["state_dict/generator.a.weight", "state_dict/discriminator.a"], "state_dict.generator"),
      (["generator.a.weight", "discriminator.a.weight"], "generator"),
      (["generator_ema.a", "generator.a", "discriminator.a"], "generator_ema"),
      (["model.a.weight", "loss.a.weight"], nil), (["params.a.weight"], "params"),
      (["encoder/a", "decoder/a"], nil),
    ] as [([String], String?)])
  func conventionalRootSelectsWeights(names: [String], root: String?) throws {
    var archive = try archive(names)
    if names.contains("n_averaged") || names.contains("total_ops") {
      for name in ["n_averaged", "total_ops"] where archive.tensors[name] != nil {
        archive.tensors[name] = try Tensor(
          elementType: .int64, shape: .scalar, bytes: SharedBytes([UInt8](repeating: 0, count: 8)))
      }
      #expect(archive.conventionalRoot == "module")
      return
    }
    #expect(archive.conventionalRoot == root)
    let first = try #require(archive.networks.first)
    #expect(first.root == root)
    let part = try root.map(archive.selecting) ?? archive
    #expect(part.tensors.count == first.tensorCount)
    #expect(archive.networks.contains { $0.root == nil })
  }

  @Test(arguments: [
    (["netG_A/a.weight", "netG_B/a.weight"], ["netG_A", "netG_B"]),
    (["checkpoint/model/a.weight", "checkpoint/epoch"], ["checkpoint.model"]),
    (["net_g/a", "net_d/a", "optimizers/a"], ["net_g", "net_d"]),
    (["model.a.weight"], ["model"]), (["custom/module.a"], ["custom.module"]),
  ])
  func everyNetworkRootIsListed(names: [String], roots: [String]) throws {
    #expect(try archive(names).networks.compactMap(\.root) == roots)
  }
}
