import Foundation
import TestSupport
import Testing

@Suite struct MergeCommandTests {
  private func fixture(_ name: String) throws -> String {
    try PackageFolder.fixture("lora/\(name)")
  }

  /// What PEFT merged is the same as the sum, and as what 'merge' writes.
  @Test(arguments: ["float32", "bfloat16"])
  func mergedModelIsTheSameAsSum(_ type: String) throws {
    let base = try fixture("\(type)/base.safetensors")
    let adapter = try fixture("\(type)/adapter_model.safetensors")
    try withTemporaryFolder { folder in
      let output = folder.appending("merged.safetensors")
      let outcome = try CommandLine.succeed("merge", base, adapter, output)
      #expect(outcome.standardError.contains("merged 3 weights of \(base) with \(adapter)\n"))
      for merged in [output, try fixture("\(type)/merged.safetensors")] {
        let same = try CommandLine.run("diff", "\(base)+\(adapter)", merged)
        #expect(same.exitCode == 0, "\(same.standardOutput)")
        #expect(same.standardOutput.contains("the same: 7 tensors"))
      }
      let other = try CommandLine.run("diff", base, output)
      #expect(other.exitCode == 1)
      #expect(other.standardOutput.contains("3 of 7 tensors changed"))
      // Another adapter is not the same.
      let half = try CommandLine.run(
        "diff", "\(base)+\(try fixture("kohya.safetensors"))", output)
      #expect(half.exitCode == 1)
    }
  }

  @Test func adapterOfAnotherBaseIsRefused() throws {
    try withTemporaryFolder { folder in
      let output = folder.appending("out.safetensors")
      let adapter = try fixture("float32/adapter_model.safetensors")
      let other = try CommandLine.run("merge", CommandLine.checkpoint, adapter, output)
      #expect(other.exitCode == 2)
      #expect(
        other.standardError.contains(
          "expected a weight of the base for the factors of 'base_model.model.block.conv', found none"
        ))
      let dora = try CommandLine.run(
        "merge", fixture("dora/base.safetensors"), fixture("dora/adapter_model.safetensors"),
        output)
      #expect(dora.exitCode == 2)
      #expect(dora.standardError.contains("the magnitudes of DoRA are not supported"))
      #expect(try folder.names() == [])
    }
    let packed = try CommandLine.run("merge", "a.safetensors", "b.safetensors", "c.condi")
    #expect(packed.exitCode == 64)
  }
}
