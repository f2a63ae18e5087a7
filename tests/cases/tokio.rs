//! tokio-postgres gets through the program what a direct connection gives, message by message.

use std::fmt::Write;

use futures_util::future::{join_all, join3, try_join_all};
use futures_util::{StreamExt, TryStreamExt, pin_mut};
use tokio_postgres::{Client, Error, NoTls};

use crate::harness::balancer::Conf;
use crate::harness::cluster::Door;
use crate::harness::tap::Tap;
use crate::harness::{Balancer, shared};

fn run(door: &Door) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let parameters =
            format!("host={} port={} user={} dbname={}", door.host, door.port, door.user, door.database);
        let (mut client, connection) = tokio_postgres::connect(&parameters, NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut said = String::new();
        tour(&mut client, &mut said).await.unwrap();
        drop(client);
        connection.await.unwrap().unwrap();
        said
    })
}

async fn tour(client: &mut Client, said: &mut String) -> Result<(), Error> {
    client.batch_execute("CREATE TABLE tour (id int PRIMARY KEY, note text)").await?;
    let insert = client.prepare("INSERT INTO tour VALUES ($1, $2)").await?;
    // All of these are on their way before the first answer comes.
    let notes: Vec<String> = (0..30_i32).map(|n| format!("note {n}")).collect();
    try_join_all((0..30_i32).map(|n| {
        let (insert, note) = (&insert, &notes[n as usize]);
        let client = &*client;
        async move { client.execute(insert, &[&n, note]).await }
    }))
    .await?;
    let select = client.prepare("SELECT note FROM tour WHERE id = $1").await?;
    let rows = try_join_all([3_i32, 7, 29].map(|n| {
        let (client, select) = (&*client, &select);
        async move { client.query_one(select, &[&n]).await }
    }));
    for row in rows.await? {
        writeln!(said, "{}", row.get::<_, &str>(0)).unwrap();
    }
    // Reads, a write and an error in one pipeline: each has its own answer.
    let (read, failed, written) = join3(
        client.query("SELECT count(*) FROM tour", &[]),
        client.query("SELECT 1 / $1::int", &[&0]),
        client.execute("UPDATE tour SET note = upper(note) WHERE id < $1", &[&3]),
    )
    .await;
    writeln!(said, "{} {:?} {}", read?[0].get::<_, i64>(0), failed.unwrap_err().code(), written?).unwrap();

    let transaction = client.transaction().await?;
    transaction.execute("INSERT INTO tour VALUES (100, 'in')", &[]).await?;
    let statement = transaction.prepare("SELECT id FROM tour ORDER BY id DESC").await?;
    let portal = transaction.bind(&statement, &[]).await?;
    for most in [2, 3] {
        let rows = transaction.query_portal(&portal, most).await?;
        writeln!(said, "portal {:?}", rows.iter().map(|row| row.get::<_, i32>(0)).collect::<Vec<_>>())
            .unwrap();
    }
    transaction.rollback().await?;
    writeln!(said, "{}", client.query("SELECT 1 FROM tour WHERE id = 100", &[]).await?.len()).unwrap();

    let rows = client.query_raw("SELECT generate_series(1, $1::int)", [5]).await?;
    pin_mut!(rows);
    while let Some(row) = rows.next().await {
        write!(said, "{} ", row?.get::<_, i32>(0)).unwrap();
    }
    let copied = client.copy_out("COPY (SELECT id FROM tour ORDER BY id LIMIT 3) TO STDOUT").await?;
    pin_mut!(copied);
    while let Some(part) = copied.try_next().await? {
        write!(said, "{:?} ", part).unwrap();
    }
    let simple = client.simple_query("SELECT 1 AS a; SELECT 2 AS b; SHOW work_mem").await?;
    writeln!(said, "{}", simple.len()).unwrap();
    let errors = ["SELEC", "SELECT * FROM nowhere", "INSERT INTO tour VALUES (1, 'twice')"];
    for result in join_all(errors.map(|sql| client.execute(sql, &[]))).await {
        writeln!(said, "{:?}", result.unwrap_err().code()).unwrap();
    }
    client.batch_execute("DROP TABLE tour").await
}

#[test]
fn the_tour_of_tokio_postgres_prints_the_same() {
    let cluster = shared();
    let direct = Tap::before(&cluster.door(0, &cluster.database("tokio")));
    let expected = run(direct.door());
    let balancer = Balancer::start(Conf::of(cluster).weights([1, 0, 0]));
    let through = Tap::before(&balancer.door(&cluster.database("tokio")));
    assert_eq!(run(through.door()), expected);
    assert_eq!(through.heard(), direct.heard());
    drop(balancer);
    let balancer = Balancer::start(Conf::of(cluster).weights([0, 1, 0]).set("read_after_write", "session"));
    assert_eq!(run(&balancer.door(&cluster.database("tokio"))), expected, "with reads on a standby");
    assert!(expected.lines().count() > 10, "{expected}");
}
