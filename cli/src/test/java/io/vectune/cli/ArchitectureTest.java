package io.vectune.cli;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noFields;
import static com.tngtech.archunit.library.Architectures.layeredArchitecture;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;

import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.domain.JavaModifier;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import org.junit.jupiter.api.Test;

/// The arrows between the rooms point down only: cli -> models -> adapters -> quant -> runtime, and adapters see
/// weights only through the runtime.
class ArchitectureTest {
    private static final JavaClasses CLASSES =
            new ClassFileImporter()
                    .withImportOption(ImportOption.Predefined.DO_NOT_INCLUDE_TESTS)
                    .importPackages("io.vectune");

    @Test
    void arrowsPointDown() {
        layeredArchitecture()
                .consideringOnlyDependenciesInAnyPackage("io.vectune..")
                .layer("cli")
                .definedBy("io.vectune.cli..")
                .layer("models")
                .definedBy("io.vectune.models..")
                .layer("adapters")
                .definedBy("io.vectune.adapters..")
                .layer("quant")
                .definedBy("io.vectune.quant..")
                .layer("runtime")
                .definedBy("io.vectune.runtime..")
                .whereLayer("cli")
                .mayNotBeAccessedByAnyLayer()
                .whereLayer("models")
                .mayOnlyBeAccessedByLayers("cli")
                .whereLayer("adapters")
                .mayOnlyBeAccessedByLayers("models", "cli")
                .whereLayer("quant")
                .mayOnlyBeAccessedByLayers("models", "cli")
                .check(CLASSES);
    }

    @Test
    void packagesHaveNoCycles() {
        slices().matching("io.vectune.(*).(*)..").should().beFreeOfCycles().check(CLASSES);
    }

    @Test
    void noMutableStatics() {
        noFields()
                .that()
                .areStatic()
                .and()
                .doNotHaveModifier(JavaModifier.SYNTHETIC)
                .should()
                .notBeFinal()
                .check(CLASSES);
    }

    @Test
    void onlyTheCommandLineTouchesTheConsole() {
        noClasses()
                .that()
                .resideOutsideOfPackage("io.vectune.cli..")
                .should()
                .accessField(System.class, "out")
                .orShould()
                .accessField(System.class, "err")
                .check(CLASSES);
    }

    @Test
    void noNativeCode() {
        noClasses().should().dependOnClassesThat().haveFullyQualifiedName("java.lang.foreign.Linker").check(CLASSES);
    }
}
