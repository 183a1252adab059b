import Formats
import Foundation
import Storage
import TestSupport
import Testing

/// Damaged files, from finding the damage to undoing it, on the checkpoint that the repository ships.
@Suite struct RepairCommandTests {
  private func model(_ path: String) throws -> PackedModel {
    try PackedModel(parsing: InputFile(path: path))
  }

  private func contents(_ path: String) throws -> Data {
    try Data(contentsOf: URL(filePath: path))
  }

  /// Changes a byte in the middle of each named tensor's record.
  private func damage(_ names: [String], of packed: String, in bytes: inout Data) throws {
    let model = try model(packed)
    for name in names {
      let entry = try #require(model.entry(named: name))
      bytes[entry.offset + entry.byteCount / 2] ^= 0x10
    }
  }

  @Test func keptAndQuantizedTensorsAreRestored() throws {
    try CommandLine.withPackedExample { folder, packed in
      let names = [
        "layers.0.residual_group.blocks.0.attn.qkv.weight", "conv_first.weight", "norm.bias",
        "layers.0.residual_group.blocks.0.attn.relative_position_index",
      ]
      var bytes = try contents(packed)
      try damage(names, of: packed, in: &bytes)
      bytes[33] ^= 1  // the prologue
      let damaged = folder.appending("damaged.condi")
      try (bytes + [1, 2]).write(to: URL(filePath: damaged))
      // Bytes after the end hide the header, and the damaged prologue does not locate it.
      let lost = try CommandLine.run(
        "repair", damaged, CommandLine.checkpoint, folder.appending("no.condi"))
      #expect(lost.exitCode == 2)
      #expect(lost.standardError.contains("nothing would prove that the file was restored"))
      try bytes.write(to: URL(filePath: damaged))

      let verified = try CommandLine.run(
        "verify", damaged, "--reference", CommandLine.checkpoint, "--repairable", "--format",
        "json")
      #expect(verified.exitCode == 2)
      let report = try CommandLine.json(verified)
      let repairs = try #require(report["repairs"] as? [[String: Any]])
      #expect(repairs.allSatisfy { $0["isRepairable"] as? Bool == true })
      #expect(Set(repairs.compactMap { $0["tensor"] as? String }) == Set(names))
      #expect(repairs.map { $0["region"] as? String }.first == "prologue")

      let restored = folder.appending("restored.condi")
      let outcome = try CommandLine.succeed(
        "repair", damaged, CommandLine.checkpoint, restored)
      #expect(try contents(restored) == contents(packed))
      #expect(outcome.standardError.contains("tensor 'norm.bias' at byte"))
      #expect(outcome.standardOutput.isEmpty)
      let again = try CommandLine.run("repair", damaged, CommandLine.checkpoint, restored)
      #expect(again.exitCode == 2 && again.standardError.contains("already exists"))
    }
  }

  @Test func differentReferenceRestoresNothing() throws {
    try CommandLine.withPackedExample { folder, packed in
      var archive = try FormatRegistry.standard.open(CommandLine.checkpoint)
      let name = "params.norm.bias"
      let tensor = try #require(archive.tensors[name])
      var values = try tensor.bytes().array
      values[2] ^= 1
      archive.tensors[name] = try Tensor(
        elementType: tensor.elementType, shape: tensor.shape, bytes: SharedBytes(values))
      let other = folder.appending("other.pth")
      try FormatRegistry.standard.write(archive, as: PyTorchFormat(), to: other)
      var bytes = try contents(packed)
      try damage(["norm.bias", "norm.weight"], of: packed, in: &bytes)
      let damaged = folder.appending("damaged.condi")
      try bytes.write(to: URL(filePath: damaged))
      let output = folder.appending("out.condi")
      let outcome = try CommandLine.run("repair", damaged, other, output)
      #expect(outcome.exitCode == 2)
      #expect(outcome.standardError.contains("does not have the checksum in the header"))
      #expect(outcome.standardError.contains("tensor 'norm.weight' at byte"))
      #expect(try folder.names() == ["damaged.condi", "model.condi", "other.pth"])
    }
  }

  @Test func lostHeaderIsRestoredWithRecipe() throws {
    try CommandLine.withPackedExample { folder, packed in
      let whole = try contents(packed)
      var flipped = whole
      flipped[whole.count - 40] ^= 4
      for (label, bytes) in [("cut", whole.dropLast(2000)), ("header", flipped)] {
        let damaged = folder.appending("\(label).condi")
        let output = folder.appending("\(label)-restored.condi")
        try Data(bytes).write(to: URL(filePath: damaged))
        let wrong = try CommandLine.run("repair", damaged, CommandLine.checkpoint, output)
        #expect(wrong.exitCode == 2)
        #expect(wrong.standardError.contains("whose header does not match the prologue"))
        #expect(!FileManager.default.fileExists(atPath: output))
        try CommandLine.succeed(
          "repair", damaged, CommandLine.checkpoint, output, "--bits", "2", "--quiet")
        #expect(try contents(output) == whole)
      }
    }
  }

  @Test func intactFileIsCopied() throws {
    try CommandLine.withPackedExample { folder, packed in
      let output = folder.appending("copy.condi")
      let outcome = try CommandLine.succeed("repair", packed, CommandLine.checkpoint, output)
      #expect(outcome.standardError.contains("is whole"))
      #expect(try contents(output) == contents(packed))
    }
  }

  @Test func seededDamageIsLocated() throws {
    try CommandLine.withPackedExample { _, packed in
      let whole = Array(try contents(packed))
      let model = try model(packed)
      let headerOffset = try #require(
        model.header.entries.last.map { $0.offset + $0.byteCount })
      var generator = SplitMix(seed: 2024)
      for trial in 0..<60 {
        var bytes = whole
        let index = Int.random(in: whole.indices, using: &generator)
        bytes[index] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
        let faults = try PackedExamination(InputFile(SharedBytes(bytes), path: "m")).faults
        let entry = model.header.entries.first {
          ($0.offset..<$0.offset + $0.byteCount).contains(index)
        }
        let region: PackedRegion =
          entry != nil
          ? .record : index < 64 ? .prologue : index < headerOffset ? .padding : .header
        #expect(faults.map(\.region) == [region], "trial \(trial), seed 2024: byte \(index)")
        #expect(faults.map(\.tensor) == [entry?.name], "trial \(trial), seed 2024: byte \(index)")
      }
      for trial in 0..<20 {
        let count = Int.random(in: whole.indices, using: &generator)
        let faults = try PackedExamination(
          InputFile(SharedBytes(Array(whole[..<count])), path: "m")
        ).faults
        #expect(faults.map(\.region) == [.end], "trial \(trial), seed 2024: \(count) bytes")
        #expect(faults.map(\.offset) == [count])
      }
    }
  }
}
